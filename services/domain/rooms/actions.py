"""Rooms: opening one, writing in it, pressing a button in it, having agents in it. A room is a chat of our own link."""

from __future__ import annotations

import re
import uuid

from django.db import connection

from services.domain.actors import Actor, require
from services.domain.agents.actions import get_usable_agent
from services.domain.chat_commands.parsing import read_command
from services.domain.chats.actions import create_link
from services.domain.chats.inbound import LinkHandle
from services.domain.chats.intake import take_in
from services.domain.chats.models import Chat, Engage, Link, UnknownSenders, Wiring
from services.domain.chats.wirings import WiringFields, create_wiring
from services.domain.contacts.models import PlatformAccount
from services.domain.errors import Invalid, NotPermitted
from services.domain.events.announcing import announce_change
from services.domain.events.listed import ChatChanged
from services.domain.identity.models import User
from services.domain.ports.chat import ChatKind, InboundMessage, InboundPress, Parsed, Place, Sender
from services.domain.rooms.queries import get_room
from services.domain.rooms.telling import KIND, tell_changed
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.storable import storable

MAX_TEXT = 20_000
LINK_NAME = "Rooms"


def open_room(actor: Actor, title: str) -> Chat:
    """Open a room. The first one of an organisation makes the link. Emits: RoomChanged. Raises: Invalid."""
    _require_person(actor)
    title = _clean_title(title)
    with tenant_transaction(actor.org_id):
        room = Chat.objects.create(
            org_id=actor.org_id,
            link=_own_link(actor),
            platform_chat_id=uuid.uuid4().hex,
            kind=ChatKind.GROUP,
            title=title,
        )
        announce_change(ChatChanged, room, "created")
        tell_changed(room)
        return room


def rename_room(actor: Actor, room_id: uuid.UUID, title: str) -> Chat:
    """Give a room another name. Emits: RoomChanged. Raises: ChatMissing, Invalid."""
    _require_person(actor)
    title = _clean_title(title)
    with tenant_transaction(actor.org_id):
        room = get_room(actor, room_id)
        room.title = title
        room.save(update_fields=["title"])
        announce_change(ChatChanged, room)
        tell_changed(room)
        return room


def close_room(actor: Actor, room_id: uuid.UUID) -> None:
    """Delete a room with all that was written in it; the agents' workspaces stay. Raises: ChatMissing, RoleMissing."""
    require(actor, "chats:write", role="admin")
    with tenant_transaction(actor.org_id):
        room = get_room(actor, room_id)
        tell_changed(room)
        announce_change(ChatChanged, room, "deleted")
        room.delete()


def bring_agent(actor: Actor, room_id: uuid.UUID, agent_id: uuid.UUID, *, answers_all: bool) -> Wiring:
    """Have an agent in a room: it answers every message, or those that write its name after an @.

    Emits: RoomChanged. Raises: ChatMissing, AgentMissing, AgentArchived, NameTaken when it is there already.
    """
    with tenant_transaction(actor.org_id):
        room = get_room(actor, room_id)
        agent = get_usable_agent(actor, agent_id)
        engage = Engage.ALWAYS if answers_all else Engage.PATTERN
        pattern = "" if answers_all else called_by_name(agent.name)
        wiring = create_wiring(
            actor, WiringFields(chat_id=room.id, agent_id=agent_id, engage=engage, pattern=pattern)
        )
        tell_changed(room)
        return wiring


def called_by_name(name: str) -> str:
    """Return the pattern of messages that write an agent's name after an @, as a word of its own."""
    return rf"(?i)(^|\W)@{re.escape(name)}(\W|$)"


def write_message(actor: Actor, room_id: uuid.UUID, text: str, *, key: str) -> None:
    """Write in a room as a person, once for each key. What agents make of it is decided as for every chat.

    Emits: RoomChanged. Queues: RouteMessage. Raises: ChatMissing, Invalid, NotPermitted for who is no person.
    """
    user_id = _require_person(actor)
    text = storable(text).replace("\r\n", "\n").strip()
    if not 1 <= len(text) <= MAX_TEXT:
        raise Invalid("A message has 1 to 20,000 characters.", fields={"text": "1 to 20,000 characters"})
    if not 1 <= len(key) <= 100:
        raise Invalid("A message's key has 1 to 100 characters.", fields={"key": "1 to 100 characters"})
    with tenant_transaction(actor.org_id):
        room = get_room(actor, room_id)
        sender = _sender(actor, room.link_id, user_id)
        message = InboundMessage(
            dedupe_key=f"{user_id}/{key}",
            place=Place(room.platform_chat_id),
            chat_kind=ChatKind.GROUP,
            chat_title=room.title,
            sender=sender,
            text=text,
            # Nobody else is in a room to whom a command could be said.
            is_mention=_names_an_agent(room, text) or read_command(text) is not None,
            message_id=uuid.uuid5(room.id, f"{user_id}/{key}").hex,
            sent_at=now(),
        )
        take_in(_handle(room), Parsed(messages=(message,)))
        tell_changed(room)


def press_button(actor: Actor, room_id: uuid.UUID, message_id: str, value: str) -> None:
    """Press a button below a message of a room; who may is judged as for every chat.

    Emits: RoomChanged. Queues: HandlePress. Raises: ChatMissing, NotPermitted for who is no person.
    """
    user_id = _require_person(actor)
    with tenant_transaction(actor.org_id):
        room = get_room(actor, room_id)
        sender = _sender(actor, room.link_id, user_id)
        press = InboundPress(
            dedupe_key=f"{user_id}/{message_id}/{value}"[:200],
            place=Place(room.platform_chat_id),
            sender=sender,
            message_id=message_id[:120],
            value=value[:200],
        )
        take_in(_handle(room), Parsed(presses=(press,)))
        tell_changed(room)


def _clean_title(title: str) -> str:
    cleaned = " ".join(storable(title).split())
    if not 1 <= len(cleaned) <= 120:
        raise Invalid("A room's name has 1 to 120 characters.", fields={"title": "1 to 120 characters"})
    return cleaned


def _names_an_agent(room: Chat, text: str) -> bool:
    return any(re.search(called_by_name(wiring.agent.name), text) for wiring in room.wirings.all())


def _require_person(actor: Actor) -> uuid.UUID:
    require(actor, "chats:write", role="member")
    if actor.user_id is None or actor.kind == "agent":
        raise NotPermitted("Rooms are for people. Agents write by their tools.")
    return actor.user_id


def _own_link(actor: Actor) -> Link:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"rooms/{actor.org_id}"])
    link = Link.objects.filter(kind=KIND).order_by("id").first()
    if link is None:
        link = create_link(actor, kind=KIND, name=LINK_NAME, config={}, unknown_senders=UnknownSenders.STRICT)
        link.status, link.platform_identity = "connected", "Slipway"
        link.save(update_fields=["status", "platform_identity"])
    return link


def _sender(actor: Actor, link_id: uuid.UUID, user_id: uuid.UUID) -> Sender:
    """Return the person as a sender of the link, where they are known from now on."""
    name = User.objects.get(id=user_id).shown_name
    PlatformAccount.objects.update_or_create(
        link_id=link_id,
        platform_user_id=str(user_id),
        defaults={"user_id": user_id, "display_name": name},
        create_defaults={"user_id": user_id, "display_name": name, "org_id": actor.org_id},
    )
    return Sender(str(user_id), name)


def _handle(room: Chat) -> LinkHandle:
    return LinkHandle(room.org_id, room.link_id, KIND, {})
