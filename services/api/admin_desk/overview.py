"""The first page of the desk: how much there is of what, and what is not as it should be."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from services.api.admin_desk.hosts import list_gaps, state_of
from services.domain.outbox.dead import all_tenants_count_dead_jobs, all_tenants_count_outbox
from services.domain.plane.hosts import with_loads
from services.domain.plane.models import Host, SandboxState
from services.domain.plane.queries import count_sandboxes
from services.domain.tasks.again import all_tenants_count_tasks
from services.domain.tasks.models import TaskStatus


def add_overview(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the counts to the page's context."""
    tasks, sandboxes = all_tenants_count_tasks(), count_sandboxes()
    hosts = with_loads(Host.objects.order_by("name"))
    context["overview"] = {
        "tasks": [(status.value, tasks.get(status.value, 0)) for status in TaskStatus],
        "sandboxes": [(state.value, sandboxes.get(state.value, 0)) for state in SandboxState],
        "outbox": all_tenants_count_outbox(),
        "dead_jobs": all_tenants_count_dead_jobs(),
        "hosts": [(host, state_of(host), list_gaps(host)) for host in hosts],
    }
    return context
