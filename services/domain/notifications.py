"""Telling a person something while an agent is at work: in the dashboard at once, in their chats when they want it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.domain.actors import Actor, require
from services.domain.chats.models import DeliveryStatus
from services.domain.chats.sending import Piece, Spot, batch_key, write_message
from services.domain.contacts.accounts import list_own_chats
from services.domain.contacts.quiet import get_quiet_hours
from services.domain.errors import DestinationMissing, Invalid, NobodyToNotify, RateLimited
from services.domain.events.models import Event
from services.domain.events.types import NotificationCreated
from services.domain.push.telling import tell_person
from services.domain.tasks.models import Task
from services.domain.tasks.submit import lock_task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

MAX_MESSAGE_CHARS = 4_000
MAX_OF_A_TASK = 100
ALL, DASHBOARD = "all", "dashboard"

Urgency = Literal["low", "normal", "high"]
Render = Callable[[str, str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class ChannelState:
    """How far a notification is in one channel. `until` is set while it is held by quiet hours."""

    channel: str
    state: Literal["sent", "queued", "held", "failed"]
    until: datetime | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Notification:
    """What became of one: its number on the person's stream, and its channels."""

    seq: int
    is_repeat: bool
    channels: list[ChannelState]


def notify_user(
    actor: Actor,
    message: str,
    urgency: Urgency = "normal",
    *,
    channel: str = ALL,
    render: Render = lambda kind, text: [text],
) -> Notification:
    """Tell the person for whom an agent works something: on their stream at once, and in their linked chats.

    `render` writes a text in the markup of a kind of platform; it is pure. In quiet hours only what is `high` goes out
    to chats; the rest waits for their end. The same message of the same task is told once.
    Locks: the task. Emits: NotificationCreated, DeliveryChanged. Queues: SendDelivery.
    Raises: NobodyToNotify, Invalid, DestinationMissing for a channel that is not linked, RateLimited, TaskMissing.
    """
    require(actor, "tasks:write")
    if actor.user_id is None or actor.task_id is None:
        raise NobodyToNotify("This work was started by no person, so there is nobody to notify.")
    text = message.strip()
    if not text or len(text) > MAX_MESSAGE_CHARS or "\x00" in text:
        raise Invalid(
            f"A message has 1 to {MAX_MESSAGE_CHARS} characters.",
            fields={"message": f"{len(text)} characters"},
        )
    with tenant_transaction(actor.org_id):
        task = lock_task(actor.task_id)
        spots = _spots(actor, channel)
        told = Event.objects.filter(task_id=task.id, type=NotificationCreated.type)
        earlier = told.filter(data__message=text, data__urgency=urgency).order_by("id").first()
        event = earlier or _tell(actor.user_id, task, text, urgency, told.count())
        hold_until = None if urgency == "high" else get_quiet_hours(actor).quiet_until(now())
        states = [ChannelState(DASHBOARD, "sent")]
        for spot in spots:
            kind = spot.chat.link.kind
            pieces = [Piece(part) for part in render(kind, f"**{task.agent.name}:** {text}")]
            batch = batch_key(f"notify:{task.id}", str(spot.chat.id), text, urgency)
            written = write_message(spot, pieces, batch=batch, task=task, not_before=hold_until)
            row = written.first
            is_held = (
                row.status == DeliveryStatus.QUEUED and row.attempts == 0 and row.next_attempt_at > now()
            )
            states.append(
                ChannelState(
                    kind,
                    "held" if is_held else _STATES[row.status],
                    row.next_attempt_at if is_held else None,
                    row.error,
                )
            )
        return Notification(event.seq, earlier is not None, states)


_STATES: dict[str, Literal["sent", "queued", "failed"]] = {
    DeliveryStatus.QUEUED: "queued",
    DeliveryStatus.SENDING: "queued",
    DeliveryStatus.SENT: "sent",
    DeliveryStatus.FAILED: "failed",
}


def _spots(actor: Actor, channel: str) -> list[Spot]:
    """Return the person's own chats that are meant. Raises: DestinationMissing for one that they have not."""
    chats = list_own_chats(actor.user_id) if actor.user_id is not None else []
    wanted = channel.strip().lower()
    if wanted == DASHBOARD:
        return []
    found = [Spot(chat) for chat in chats if wanted in (ALL, "", chat.link.kind)]
    if not found and wanted not in (ALL, ""):
        linked = sorted({chat.link.kind for chat in chats})
        raise DestinationMissing(
            f"This person has no {channel!r} linked. There are: {', '.join([DASHBOARD, *linked])}."
        )
    return found


def _tell(user_id: uuid.UUID, task: Task, text: str, urgency: Urgency, sent: int) -> Event:
    if sent >= MAX_OF_A_TASK:
        raise RateLimited(f"A task may notify its user {MAX_OF_A_TASK} times.", limit=MAX_OF_A_TASK)
    return tell_person(
        user_id,
        NotificationCreated(message=text, urgency=urgency, task_id=str(task.id)),
        task_id=task.id,
        turn=task.turn,
    )
