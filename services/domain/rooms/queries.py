"""Reading rooms: which there are, and what was said in one, by people and by agents, as it stands now."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Max, Prefetch, QuerySet

from services.domain.actors import Actor, require
from services.domain.chats.models import Chat, Delivery, DeliveryKind, DeliveryStatus, InboundMessage, Wiring
from services.domain.errors import ChatMissing
from services.domain.ports.chat_abilities import Button
from services.domain.rooms.telling import KIND
from services.domain.tasks.models import ACTIVE, Task, TaskStatus

_SHOWN = (DeliveryKind.TEXT, DeliveryKind.CARD)


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a room. `user_id` is set for people, `agent_name` for agents; `text` is Markdown.

    `reason` says of a person's message why nobody answered it, or what became of it, as the router recorded it.
    """

    id: uuid.UUID
    message_id: str
    at: datetime
    text: str
    user_id: str | None = None
    agent_name: str = ""
    sender_name: str = ""
    state: str = ""
    reason: str = ""
    task_id: uuid.UUID | None = None
    workspace_id: uuid.UUID | None = None
    is_edited: bool = False
    buttons: tuple[Button, ...] = field(default=())


def list_rooms(actor: Actor) -> QuerySet[Chat]:
    """Return the rooms with the agents in them; to be read in the tenant's transaction."""
    require(actor, "chats:read")
    wirings = Prefetch("wirings", Wiring.objects.select_related("agent").order_by("-priority", "id"))
    rows = Chat.objects.filter(link__kind=KIND).prefetch_related(wirings)
    return rows.annotate(last_message_at=Max("inbound_messages__created_at"))


def get_room(actor: Actor, room_id: uuid.UUID) -> Chat:
    """Return one room. Raises: ChatMissing."""
    room = list_rooms(actor).filter(id=room_id).first()
    if room is None:
        raise ChatMissing("There is no such room.")
    return room


def list_entries(
    actor: Actor, room_id: uuid.UUID, *, before: uuid.UUID | None = None, limit: int = 100
) -> list[Entry]:
    """List the last messages of a room, the oldest first; `before` goes on from the first of an earlier list.

    In the tenant's transaction. Raises: ChatMissing.
    """
    room = get_room(actor, room_id)
    said = InboundMessage.objects.filter(chat=room)
    sent = Delivery.objects.filter(chat=room, kind__in=_SHOWN).select_related("task__agent")
    if before is not None:
        said, sent = said.filter(id__lt=before), sent.filter(id__lt=before)
    entries = [_said(row) for row in said.order_by("-id")[:limit]]
    entries += _sent(sent.prefetch_related("changes").order_by("-id")[:limit])
    return sorted(entries, key=lambda entry: entry.id)[-limit:]


def list_at_work(actor: Actor, room_id: uuid.UUID) -> list[Task]:
    """List the tasks that a room waits for, with their agents; in the tenant's transaction. Raises: ChatMissing."""
    room = get_room(actor, room_id)
    states = [*ACTIVE, TaskStatus.QUEUED]
    rows = Task.objects.select_related("agent").filter(status__in=states, deliver_to__chat_id=str(room.id))
    return list(rows.order_by("id")[:20])


def _said(row: InboundMessage) -> Entry:
    return Entry(
        id=row.id,
        message_id=row.platform_message_id,
        at=row.created_at,
        text=row.text,
        user_id=row.sender_id,
        sender_name=row.sender_name,
        state="routed" if row.routed_at else "received",
        reason=row.outcome,
    )


def _sent(rows: Sequence[Delivery] | QuerySet[Delivery]) -> list[Entry]:
    entries = []
    for row in rows:
        changes = sorted(row.changes.all(), key=lambda change: change.id)
        if any(change.kind == DeliveryKind.DELETE for change in changes):
            continue
        edits = [change.text for change in changes if change.kind == DeliveryKind.EDIT]
        buttons = (
            (row.payload or {}).get("buttons", []) if row.kind == DeliveryKind.CARD and not edits else []
        )
        entries.append(
            Entry(
                id=row.id,
                message_id=row.platform_message_id,
                at=row.created_at,
                text=edits[-1] if edits else row.text,
                agent_name=row.task.agent.name if row.task is not None else "Slipway",
                state=row.status,
                reason=row.error if row.status == DeliveryStatus.FAILED else "",
                task_id=row.task_id,
                workspace_id=row.task.workspace_id if row.task is not None else None,
                is_edited=bool(edits),
                buttons=tuple(Button(**button) for button in buttons),
            )
        )
    return entries
