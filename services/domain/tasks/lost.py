"""Tasks whose host or sandbox is lost: done again elsewhere when nothing of them was seen yet, ended otherwise."""

from __future__ import annotations

import uuid

from services.domain.events.announcing import announce_change
from services.domain.events.listed import TaskChanged
from services.domain.events.log import record_event
from services.domain.events.models import Event
from services.domain.events.types import MessageCreated, SandboxChanged, TaskQueued, TaskStarted, TurnStarted
from services.domain.outbox.jobs import DispatchTask, enqueue
from services.domain.tasks.dispatch import MAX_START_ATTEMPTS
from services.domain.tasks.finish import Outcome, finish_locked_task
from services.domain.tasks.models import ACTIVE, Task, TaskStatus
from services.domain.tasks.tokens import revoke_tokens
from services.domain.tenancy.transaction import tenant_transaction

HOST_LOST = ("host_lost", "The machine that did this work fell silent.")
_BEFORE_ANY_WORK = (TaskQueued.type, TaskStarted.type, TurnStarted.type, SandboxChanged.type)


def settle_lost_task(
    org_id: uuid.UUID, task_id: uuid.UUID, sandbox_id: uuid.UUID, *, reason: tuple[str, str] = HOST_LOST
) -> bool:
    """Put a task of a lost sandbox back into the queue, or end it as failed when its turn has said or done anything.

    Guarded by the sandbox: a task that went on to another one is left alone, and then this is False.
    Emits: TaskQueued when it is put back. Queues: DispatchTask.
    """
    with tenant_transaction(org_id):
        task = (
            Task.objects.select_for_update()
            .filter(id=task_id, sandbox_id=sandbox_id, status__in=ACTIVE)
            .first()
        )
        if task is None:
            return False
        if task.cancel_requested_at is not None:
            return finish_locked_task(task, Outcome("cancelled", error=("cancelled", "Cancelled.")))
        if task.attempt >= MAX_START_ATTEMPTS or _has_worked(task):
            return finish_locked_task(task, Outcome("failed", error=reason))
        revoke_tokens(task)
        task.status = TaskStatus.QUEUED
        task.sandbox_id = task.lease_token = task.lease_until = None
        task.started_at = task.deadline_at = task.waiting_seen_at = None
        task.waited_ms = 0
        task.save()
        queued = TaskQueued(task_id=str(task.id), agent_id=str(task.agent_id), source=task.source)
        record_event(f"workspace:{task.workspace_id}", queued, task_id=task.id, turn=task.turn)
        announce_change(TaskChanged, task)
        enqueue(DispatchTask())
        return True


def _has_worked(task: Task) -> bool:
    """Say whether anything but the person's own messages came out of the turn: to do it again could do it twice."""
    events = Event.objects.filter(task_id=task.id).exclude(type__in=_BEFORE_ANY_WORK)
    return events.exclude(type=MessageCreated.type, data__role="user").exists()
