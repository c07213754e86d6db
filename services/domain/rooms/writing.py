"""Writing in a room as a person: messages with files, in threads; pressing buttons; reacting."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from services.domain.actors import Actor
from services.domain.chat_commands.parsing import read_command
from services.domain.chats.inbound import LinkHandle
from services.domain.chats.intake import take_in
from services.domain.chats.models import Chat, Delivery
from services.domain.errors import ChatMessageMissing, Invalid
from services.domain.ports.chat import ChatKind, InboundMessage, InboundPress, Parsed, Place
from services.domain.rooms.files import incoming_of, lock_unsaid
from services.domain.rooms.models import RoomFile, RoomReaction
from services.domain.rooms.names import called_by_name
from services.domain.rooms.people import require_person, sender_of
from services.domain.rooms.queries import Said, find_message, get_room
from services.domain.rooms.telling import KIND, tell_changed
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.emoji import bare, is_emoji
from services.kit.storable import storable

MAX_TEXT = 20_000
MAX_REACTIONS = 20
"""Of one person to one message."""


@dataclass(frozen=True, slots=True)
class Words:
    """What a person says: Markdown, files that were uploaded before, and the message in whose thread it stands."""

    text: str = ""
    file_ids: Sequence[uuid.UUID] = ()
    thread_id: str = ""


def write_message(actor: Actor, room_id: uuid.UUID, words: Words, *, key: str) -> None:
    """Write in a room as a person, once for each key. What agents make of it is decided as for every chat.

    Emits: RoomChanged. Queues: RouteMessage. Raises: ChatMissing, ChatMessageMissing, FileMissing, Invalid,
    NotPermitted for who is no person.
    """
    user_id = require_person(actor)
    text = _clean(words, key)
    with tenant_transaction(actor.org_id):
        room = get_room(actor, room_id)
        message_id = uuid.uuid5(room.id, f"{user_id}/{key}").hex
        root = _root(room, words.thread_id)
        files = lock_unsaid(room, user_id, words.file_ids, message_id)
        message = InboundMessage(
            dedupe_key=f"{user_id}/{key}",
            place=Place(room.platform_chat_id, words.thread_id or None),
            chat_kind=ChatKind.GROUP,
            chat_title=room.title,
            sender=sender_of(actor, room.link_id, user_id),
            text=text,
            # Nobody else is in a room to whom a command could be said; a thread below an agent's words answers it.
            is_mention=_names_an_agent(room, text)
            or read_command(text) is not None
            or isinstance(root, Delivery),
            message_id=message_id,
            sent_at=now(),
            files=tuple(incoming_of(file) for file in files),
        )
        if take_in(_handle(room), Parsed(messages=(message,))):
            RoomFile.objects.filter(id__in=[file.id for file in files]).update(message_id=message_id)
        tell_changed(room)


def press_button(actor: Actor, room_id: uuid.UUID, message_id: str, value: str) -> None:
    """Press a button below a message of a room; who may is judged as for every chat.

    Emits: RoomChanged. Queues: HandlePress. Raises: ChatMissing, NotPermitted for who is no person.
    """
    user_id = require_person(actor)
    with tenant_transaction(actor.org_id):
        room = get_room(actor, room_id)
        press = InboundPress(
            dedupe_key=f"{user_id}/{message_id}/{value}"[:200],
            place=Place(room.platform_chat_id),
            sender=sender_of(actor, room.link_id, user_id),
            message_id=message_id[:120],
            value=value[:200],
        )
        take_in(_handle(room), Parsed(presses=(press,)))
        tell_changed(room)


def add_reaction(actor: Actor, room_id: uuid.UUID, message_id: str, emoji: str) -> None:
    """React to a message; the same again is no error. Emits: RoomChanged.

    Raises: ChatMissing, ChatMessageMissing, Invalid, NotPermitted for who is no person.
    """
    user_id = require_person(actor)
    emoji = bare(emoji)
    with tenant_transaction(actor.org_id):
        room = get_room(actor, room_id)
        _get_message(room, message_id)
        if not is_emoji(emoji):
            raise Invalid("This is no emoji.", fields={"emoji": "one emoji"})
        own = RoomReaction.objects.filter(chat=room, message_id=message_id, user_id=user_id)
        if own.count() >= MAX_REACTIONS:
            raise Invalid("That is enough of reactions to one message.", fields={"emoji": "too many"})
        row = RoomReaction(
            org_id=actor.org_id, chat=room, message_id=message_id, user_id=user_id, emoji=emoji
        )
        RoomReaction.objects.bulk_create([row], ignore_conflicts=True)
        tell_changed(room)


def remove_reaction(actor: Actor, room_id: uuid.UUID, message_id: str, emoji: str) -> None:
    """Take an own reaction back; one that is not there is no error. Emits: RoomChanged.

    Raises: ChatMissing, ChatMessageMissing, NotPermitted for who is no person.
    """
    user_id = require_person(actor)
    with tenant_transaction(actor.org_id):
        room = get_room(actor, room_id)
        _get_message(room, message_id)
        own = RoomReaction.objects.filter(chat=room, message_id=message_id, user_id=user_id)
        if own.filter(emoji=bare(emoji)).delete()[0]:
            tell_changed(room)


def _clean(words: Words, key: str) -> str:
    text: str = storable(words.text).replace("\r\n", "\n").strip()
    least = 0 if words.file_ids else 1
    if not least <= len(text) <= MAX_TEXT:
        raise Invalid("A message has 1 to 20,000 characters.", fields={"text": "1 to 20,000 characters"})
    if not 1 <= len(key) <= 100:
        raise Invalid("A message's key has 1 to 100 characters.", fields={"key": "1 to 100 characters"})
    return text


def _root(room: Chat, thread_id: str) -> Said | None:
    """Return the message that a thread is below. Raises: ChatMessageMissing, Invalid for one within a thread."""
    if not thread_id:
        return None
    root = _get_message(room, thread_id)
    if root.thread_id:
        raise Invalid(
            "A thread has no threads of its own.", fields={"thread_id": "a message outside of threads"}
        )
    return root


def _get_message(room: Chat, message_id: str) -> Said:
    found = find_message(room, message_id)
    if found is None:
        raise ChatMessageMissing("There is no such message in this room.")
    return found


def _names_an_agent(room: Chat, text: str) -> bool:
    return any(re.search(called_by_name(wiring.agent.name), text) for wiring in room.wirings.all())


def _handle(room: Chat) -> LinkHandle:
    return LinkHandle(room.org_id, room.link_id, KIND, {})
