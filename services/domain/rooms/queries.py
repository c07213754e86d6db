"""Reading rooms: which there are, and what was said in one, by people and by agents, as it stands now."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from django.db.models import Count, Max, Prefetch, Q, QuerySet

from services.domain.actors import Actor, require
from services.domain.chats.models import Chat, Delivery, DeliveryKind, DeliveryStatus, InboundMessage, Wiring
from services.domain.errors import ChatMissing
from services.domain.ports.chat_abilities import Button
from services.domain.rooms.models import RoomFile, RoomReaction
from services.domain.rooms.telling import KIND
from services.domain.tasks.models import ACTIVE, Task, TaskStatus

_SHOWN = (DeliveryKind.TEXT, DeliveryKind.CARD, DeliveryKind.FILE)
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")

Said = InboundMessage | Delivery


@dataclass(frozen=True, slots=True)
class EntryFile:
    """A file of a message. `is_picture`: a browser can show it."""

    id: uuid.UUID
    name: str
    content_type: str
    size_bytes: int

    @property
    def is_picture(self) -> bool:
        """Say whether it is one of the kinds of picture that every browser shows."""
        return self.content_type in PICTURES


@dataclass(frozen=True, slots=True)
class EntryReaction:
    """An emoji below a message, with the names of those who gave it; `is_own`: the reader is among them."""

    emoji: str
    names: tuple[str, ...]
    is_own: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a room. `user_id` is set for people, `agent_name` for agents; `text` is Markdown.

    `reason` says of a person's message why nobody answered it, or what became of it, as the router recorded it.
    `thread_id` is the message that it stands below; `replies` counts what stands below it.
    """

    id: uuid.UUID
    message_id: str
    at: datetime
    text: str
    thread_id: str = ""
    user_id: str | None = None
    agent_name: str = ""
    sender_name: str = ""
    state: str = ""
    reason: str = ""
    task_id: uuid.UUID | None = None
    workspace_id: uuid.UUID | None = None
    is_edited: bool = False
    buttons: tuple[Button, ...] = field(default=())
    files: tuple[EntryFile, ...] = field(default=())
    reactions: tuple[EntryReaction, ...] = field(default=())
    replies: int = 0


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


def find_message(room: Chat, message_id: str) -> Said | None:
    """Return the message of a room that has an id, a person's or an agent's; in the tenant's transaction."""
    if not message_id:
        return None
    said = InboundMessage.objects.filter(chat=room, platform_message_id=message_id).first()
    if said is not None:
        return said
    sent = _visible(room).filter(platform_message_id=message_id)
    return sent.exclude(changes__kind=DeliveryKind.DELETE).first()


def list_entries(
    actor: Actor,
    room_id: uuid.UUID,
    *,
    thread_id: str = "",
    before: uuid.UUID | None = None,
    limit: int = 100,
) -> list[Entry]:
    """List the last messages outside of threads, the oldest first, or those of a thread with the one it is below.

    `before` goes on from the first of an earlier list. In the tenant's transaction. Raises: ChatMissing.
    """
    room = get_room(actor, room_id)
    here = Q(thread_id=thread_id)
    if thread_id:
        here |= Q(platform_message_id=thread_id)
    said, sent = InboundMessage.objects.filter(here, chat=room), _visible(room).filter(here)
    if before is not None:
        said, sent = said.filter(id__lt=before), sent.filter(id__lt=before)
    entries = [_said(row) for row in said.order_by("-id")[:limit]]
    entries += _sent(sent.prefetch_related("changes").order_by("-id")[:limit])
    return _dressed(actor, room, sorted(entries, key=lambda entry: entry.id)[-limit:])


def list_at_work(actor: Actor, room_id: uuid.UUID, *, thread_id: str = "") -> list[Task]:
    """List the tasks that a room, or a thread of it, waits for, with their agents; in the tenant's transaction.

    Raises: ChatMissing.
    """
    room = get_room(actor, room_id)
    states = [*ACTIVE, TaskStatus.QUEUED]
    rows = Task.objects.select_related("agent").filter(status__in=states, deliver_to__chat_id=str(room.id))
    if thread_id:
        rows = rows.filter(deliver_to__thread_id=thread_id)
    return list(rows.order_by("id")[:20])


def _visible(room: Chat) -> QuerySet[Delivery]:
    return Delivery.objects.filter(chat=room, kind__in=_SHOWN).select_related("task__agent")


def _said(row: InboundMessage) -> Entry:
    return Entry(
        id=row.id,
        message_id=row.platform_message_id,
        at=row.created_at,
        text=row.text,
        thread_id=row.thread_id,
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
        payload = row.payload or {}
        buttons = payload.get("buttons", []) if row.kind == DeliveryKind.CARD and not edits else []
        entries.append(
            Entry(
                id=row.id,
                message_id=row.platform_message_id,
                at=row.created_at,
                text=edits[-1] if edits else row.text,
                thread_id=row.thread_id,
                agent_name=row.task.agent.name if row.task is not None else "Slipway",
                state=row.status,
                reason=row.error if row.status == DeliveryStatus.FAILED else "",
                task_id=row.task_id,
                workspace_id=row.task.workspace_id if row.task is not None else None,
                is_edited=bool(edits),
                buttons=tuple(Button(**button) for button in buttons),
                files=(_file_of(row),) if row.kind == DeliveryKind.FILE else (),
            )
        )
    return entries


def _file_of(row: Delivery) -> EntryFile:
    payload = row.payload or {}
    return EntryFile(row.id, payload["name"], payload["content_type"], payload["size_bytes"])


def _dressed(actor: Actor, room: Chat, entries: Sequence[Entry]) -> list[Entry]:
    """Return entries with their files, reactions and numbers of replies."""
    ids = [entry.message_id for entry in entries if entry.message_id]
    files: dict[str, list[EntryFile]] = {}
    for file in RoomFile.objects.filter(chat=room, message_id__in=ids).order_by("id"):
        shown = EntryFile(file.id, file.name, file.content_type, file.size_bytes)
        files.setdefault(file.message_id, []).append(shown)
    reactions, replies = _reactions(actor, room, ids), _count_replies(room, ids)
    return [
        replace(
            entry,
            files=entry.files or tuple(files.get(entry.message_id, ())),
            reactions=reactions.get(entry.message_id, ()),
            replies=replies.get(entry.message_id, 0),
        )
        for entry in entries
    ]


def _reactions(actor: Actor, room: Chat, ids: Sequence[str]) -> dict[str, tuple[EntryReaction, ...]]:
    """Return the reactions to some messages, each emoji once in the order in which it was given first."""
    given: list[tuple[uuid.UUID, str, str, str, bool]] = []
    people = RoomReaction.objects.filter(chat=room, message_id__in=ids).select_related("user")
    for row in people:
        is_own = row.user_id == actor.user_id
        given.append((row.id, row.message_id, row.emoji, row.user.shown_name, is_own))
    agents = (
        Delivery.objects.filter(chat=room, kind=DeliveryKind.REACT)
        .filter(Q(target__platform_message_id__in=ids) | Q(payload__message_id__in=ids))
        .exclude(status=DeliveryStatus.FAILED)
        .select_related("target", "task__agent")
    )
    for sent in agents:
        payload = sent.payload or {}
        about = sent.target.platform_message_id if sent.target else str(payload.get("message_id", ""))
        name = sent.task.agent.name if sent.task is not None else "Slipway"
        given.append((sent.id, about, str(payload.get("emoji", "")), name, False))
    return _by_message(sorted(given))


def _by_message(
    given: Iterable[tuple[uuid.UUID, str, str, str, bool]],
) -> dict[str, tuple[EntryReaction, ...]]:
    found: dict[str, dict[str, EntryReaction]] = {}
    for _, message_id, emoji, name, is_own in given:
        of_message = found.setdefault(message_id, {})
        before = of_message.get(emoji, EntryReaction(emoji, (), is_own=False))
        of_message[emoji] = EntryReaction(emoji, (*before.names, name), is_own=before.is_own or is_own)
    return {message_id: tuple(emojis.values()) for message_id, emojis in found.items()}


def _count_replies(room: Chat, ids: Sequence[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    said = InboundMessage.objects.filter(chat=room, thread_id__in=ids)
    sent = Delivery.objects.filter(chat=room, thread_id__in=ids, kind__in=_SHOWN)
    for rows in (said, sent.exclude(changes__kind=DeliveryKind.DELETE)):
        for thread_id, count in rows.values_list("thread_id").annotate(count=Count("id")):
            counts[thread_id] = counts.get(thread_id, 0) + count
    return counts
