"""Doing a task once more."""

from __future__ import annotations

import uuid

from django.db.models import Count

from services.domain.actors import Actor
from services.domain.errors import Conflict
from services.domain.tasks.models import FINAL, Task, TaskMode
from services.domain.tasks.queries import get_task
from services.domain.tasks.submit import TaskOrder, submit_task
from services.domain.tenancy.transaction import tenant_transaction


def retry_task(actor: Actor, task_id: uuid.UUID) -> Task:
    """Submit what an ended task asked for as a new task, in the same workspace while that takes work.

    Emits and queues what `submit_task` does. Raises: TaskMissing, Conflict for a task that is still at work, and
    what `submit_task` raises.
    """
    with tenant_transaction(actor.org_id):
        task = get_task(actor, task_id)
        if task.status not in FINAL:
            raise Conflict("The task has not ended yet.", status=task.status)
        is_open = task.mode == TaskMode.SESSION and task.workspace.archived_at is None
        order = TaskOrder(
            agent_id=None if is_open else task.agent_id,
            workspace_id=task.workspace_id if is_open else None,
            prompt=task.prompt,
            mode=TaskMode(task.mode),
            model=task.model or None,
            max_turns=task.max_turns,
            max_budget_microusd=task.max_budget_microusd,
            timeout_s=task.timeout_s,
            output_schema=task.output_schema,
            deliver_to=task.deliver_to,
        )
        return submit_task(actor, order, source="retry")


def all_tenants_retry_task(task_id: uuid.UUID) -> Task:
    """Retry a task of any organisation, for its own person. Raises: as `retry_task`."""
    org_id, user_id = Task.objects.using("operator").filter(id=task_id).values_list("org_id", "user_id").get()
    return retry_task(Actor(org_id=org_id, kind="system", role="owner", user_id=user_id), task_id)


def all_tenants_count_tasks() -> dict[str, int]:
    """Return how many tasks are in each state, over all organisations."""
    rows = Task.objects.using("operator").values_list("status").annotate(count=Count("id")).order_by()
    return dict(rows)
