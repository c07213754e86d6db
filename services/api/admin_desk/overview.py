"""The first page of the desk: how much there is of what, and what is not as it should be."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.http import HttpRequest

from services.domain.outbox.dead import all_tenants_count_dead_jobs, all_tenants_count_outbox
from services.domain.plane.models import SandboxState
from services.domain.plane.queries import count_sandboxes, list_hosts
from services.domain.tasks.again import all_tenants_count_tasks
from services.domain.tasks.models import TaskStatus
from services.kit.clock import now

SILENT_AFTER = timedelta(seconds=60)


def add_overview(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the counts to the page's context."""
    tasks, sandboxes, moment = all_tenants_count_tasks(), count_sandboxes(), now()
    context["overview"] = {
        "tasks": [(status.value, tasks.get(status.value, 0)) for status in TaskStatus],
        "sandboxes": [(state.value, sandboxes.get(state.value, 0)) for state in SandboxState],
        "outbox": all_tenants_count_outbox(),
        "dead_jobs": all_tenants_count_dead_jobs(),
        "hosts": [(host, host.last_beat_at < moment - SILENT_AFTER) for host in list_hosts()],
    }
    return context
