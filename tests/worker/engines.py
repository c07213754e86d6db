"""Short ways to sandboxes on an engine in memory."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from conftest import Tenant
from services.domain.outbox.jobs import DispatchTask
from services.domain.plane.actions import Wanted
from services.domain.plane.models import Sandbox
from services.domain.tasks.dispatch import all_tenants_get_candidate
from services.domain.tasks.models import Task
from services.kit.clock import now
from services.worker.jobs import dispatching
from tests.domain.cast import fresh, submit


def dispatched(tenant: Tenant, **order: Any) -> tuple[Task, Sandbox]:
    """Submit a task and dispatch; returns it and the sandbox that it got."""
    task = submit(tenant, **order)
    dispatching.dispatch_task(DispatchTask())
    task = fresh(task)
    return task, Sandbox.objects.get(id=task.sandbox_id)


def aged(sandbox: Sandbox, seconds: float) -> None:
    """Let the sandbox's last change, use and link lie so many seconds back."""
    moment = now() - timedelta(seconds=seconds)
    Sandbox.objects.filter(id=sandbox.id).update(state_at=moment, used_at=moment, link_until=moment)


def wanted_by(task: Task) -> Wanted:
    """Return what the dispatcher takes a queued task to want."""
    candidate = all_tenants_get_candidate(task.id)
    assert candidate is not None
    return dispatching.wanted_by(candidate)
