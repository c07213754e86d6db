"""The turn's clock: it stands still while the turn waits for a person and does nothing else.

Whoever holds the turn up says so every TICK; each time the deadline moves by what has passed since the last. So a
gateway that dies stops nobody's clock for longer than one tick, and two that wait for one turn count the time once.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Literal

from django.db import transaction
from django.db.models import Count, F, Q

from services.domain.events.announcing import announce_change
from services.domain.events.listed import TaskChanged
from services.domain.events.log import record_event
from services.domain.events.models import Event
from services.domain.events.types import TaskResumed, TaskWaiting, ToolCalled, ToolReturned
from services.domain.tasks.models import Task, TaskStatus, TaskToken
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.redisbus import nudge

TICK = timedelta(seconds=5)
# How far ahead the deadline is while a turn waits, so that its runner does not end it between two ticks.
HEADROOM = timedelta(seconds=20)
UNSEEN = timedelta(seconds=15)
# A turn that could wait for ever would hold its sandbox for ever.
MOST_WAITED = timedelta(days=1)
_WOKEN_AT_ONCE = 200


def note_waiting(
    task: Task,
    *,
    reason: Literal["approval", "question"],
    approval_id: uuid.UUID | None = None,
    calls_waiting: int = 1,
) -> bool:
    """Say that a turn waits for a person, once a TICK for as long as it does; False when it does not.

    It does not when it has more tool calls open than the `calls_waiting`: then it works beside them.
    Locks: the task. Emits: TaskWaiting, or TaskResumed.
    """
    with tenant_transaction(task.org_id):
        row = _lock(task.id)
        if row is None:
            return False
        if _open_calls(row) > calls_waiting or row.waited_ms >= MOST_WAITED / timedelta(milliseconds=1):
            _resume(row)
            return False
        moment = now()
        _count(row, moment)
        row.waiting_seen_at = moment
        if row.status == TaskStatus.RUNNING:
            row.status = TaskStatus.WAITING
            _tell(
                row,
                TaskWaiting(
                    task_id=str(row.id), reason=reason, approval_id=str(approval_id) if approval_id else None
                ),
            )
        _set_deadline(row, ahead=HEADROOM)
        return True


def end_waiting(org_id: uuid.UUID, task_id: uuid.UUID) -> None:
    """Say that a turn waits no more. Locks: the task. Emits: TaskResumed."""
    with tenant_transaction(org_id):
        row = _lock(task_id)
        if row is not None:
            _resume(row)


def all_tenants_wake_unseen() -> int:
    """Let the clocks run on of turns that nobody has seen wait for a while; returns how many. Emits: TaskResumed."""
    edge = now() - UNSEEN
    rows = Task.objects.using("operator").filter(status=TaskStatus.WAITING, waiting_seen_at__lt=edge)
    woken = 0
    for org_id, task_id in rows.values_list("org_id", "id")[:_WOKEN_AT_ONCE]:
        with tenant_transaction(org_id):
            row = _lock(task_id)
            if row is not None and row.waiting_seen_at is not None and row.waiting_seen_at < edge:
                _resume(row)
                woken += 1
    return woken


def _lock(task_id: uuid.UUID) -> Task | None:
    at_work = (TaskStatus.RUNNING, TaskStatus.WAITING)
    return Task.objects.select_for_update().filter(id=task_id, status__in=at_work).first()


def _open_calls(task: Task) -> int:
    """Count the tool calls of the turn that have not returned, as far as its runner has said."""
    counted = Event.objects.filter(task_id=task.id).aggregate(
        called=Count("id", filter=Q(type=ToolCalled.type)),
        returned=Count("id", filter=Q(type=ToolReturned.type)),
    )
    return int(counted["called"]) - int(counted["returned"])


def _count(task: Task, moment: datetime) -> None:
    if task.waiting_seen_at is not None:
        passed = min(moment - task.waiting_seen_at, UNSEEN)
        task.waited_ms += max(0, passed // timedelta(milliseconds=1))


def _resume(task: Task) -> None:
    if task.status != TaskStatus.WAITING:
        return
    _count(task, now())
    task.status, task.waiting_seen_at = TaskStatus.RUNNING, None
    _tell(task, TaskResumed(task_id=str(task.id), waited_ms=task.waited_ms))
    _set_deadline(task, ahead=timedelta())


def _set_deadline(task: Task, *, ahead: timedelta) -> None:
    """Move the deadline, and with it the end of the tokens, by what was waited; the runner is told by its gateway."""
    if task.started_at is None:
        return
    waited = timedelta(milliseconds=task.waited_ms)
    deadline = task.started_at + timedelta(seconds=task.timeout_s) + waited + ahead
    if task.deadline_at is not None and deadline > task.deadline_at:
        tokens = TaskToken.objects.filter(task=task, revoked_at=None)
        tokens.update(expires_at=F("expires_at") + (deadline - task.deadline_at))
    task.deadline_at = deadline
    task.save(update_fields=["status", "waiting_seen_at", "waited_ms", "deadline_at"])
    sandbox_id = str(task.sandbox_id)
    transaction.on_commit(lambda: nudge("gateway", sandbox_id), robust=True)


def _tell(task: Task, event: TaskWaiting | TaskResumed) -> None:
    record_event(f"workspace:{task.workspace_id}", event, task_id=task.id, turn=task.turn)
    announce_change(TaskChanged, task)
