"""What becomes of follow-up messages when their task ends."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from services.domain.events.log import NewEvent
from services.domain.events.types import MessageSettled
from services.domain.outbox.jobs import SubmitFollowUps, enqueue
from services.domain.tasks.models import MessageState, Task, TaskMessage, TaskStatus
from services.kit.clock import now


def note_consumed(task: Task, message_id: str) -> None:
    """Note that the turn at work has a message in its hands; it is acknowledged when that turn ends."""
    try:
        row_id = uuid.UUID(message_id)
    except ValueError:
        return
    TaskMessage.objects.filter(id=row_id, task=task, state=MessageState.WAITING).update(
        state=MessageState.CONSUMED, consumed_at=now()
    )


def settle_messages(task: Task) -> list[NewEvent]:
    """Acknowledge what an ended task's turn took; return the events that say so.

    What it did not take becomes a turn of its own; a person who cancels wants neither. Queues: SubmitFollowUps.
    """
    messages = list(
        TaskMessage.objects.select_for_update()
        .filter(task=task, state__in=(MessageState.WAITING, MessageState.CONSUMED))
        .order_by("id")
    )
    taken = [message for message in messages if message.state == MessageState.CONSUMED]
    left = [message for message in messages if message.state == MessageState.WAITING]
    events = settled(taken, MessageState.TAKEN)
    if left and task.status == TaskStatus.CANCELLED:
        events += settled(left, MessageState.DROPPED, reason="cancelled")
    elif left:
        enqueue(SubmitFollowUps(org_id=task.org_id, task_id=task.id))
    return events


def settled(
    messages: Sequence[TaskMessage], state: MessageState, *, moved_to: Task | None = None, reason: str = ""
) -> list[NewEvent]:
    """Write down how messages ended; return the events that say so."""
    events = []
    for message in messages:
        message.state, message.moved_to = state, moved_to
        message.save(update_fields=["state", "moved_to"])
        told = MessageSettled(
            id=str(message.id),
            state=state.value,
            moved_to=str(moved_to.id) if moved_to else None,
            reason=reason,
        )
        events.append(NewEvent(told, message.task_id, message.task.turn))
    return events
