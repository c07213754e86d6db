"""How much of an organisation's work may run and wait at once, and how much does."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, Q

from services.domain.actors import Actor, require
from services.domain.identity.models import Organisation
from services.domain.tasks.models import ACTIVE, Task, TaskStatus


@dataclass(frozen=True, slots=True)
class TaskLimits:
    """Counts of tasks. Of those that wait, one starts when a running one ends, fairly between organisations."""

    max_running_tasks: int
    running_tasks: int
    max_queued_tasks: int
    queued_tasks: int


def get_task_limits(actor: Actor) -> TaskLimits:
    """Return the limits and what is used of them; in the tenant's transaction."""
    require(actor, "usage:read")
    organisation = Organisation.objects.get(id=actor.org_id)
    counted = Task.objects.filter(status__in=[*ACTIVE, TaskStatus.QUEUED]).aggregate(
        running=Count("id", filter=Q(status__in=ACTIVE)),
        queued=Count("id", filter=Q(status=TaskStatus.QUEUED)),
    )
    return TaskLimits(
        max_running_tasks=organisation.max_running_tasks,
        running_tasks=counted["running"],
        max_queued_tasks=organisation.max_queued_tasks,
        queued_tasks=counted["queued"],
    )
