"""Rooms: opening one, naming it, having agents in it, closing it. A room is a chat of our own link."""

from __future__ import annotations

import uuid

from django.db import connection

from services.domain.actors import Actor, require
from services.domain.agents.actions import get_usable_agent
from services.domain.chats.actions import create_link
from services.domain.chats.models import Chat, Engage, Link, UnknownSenders, Wiring
from services.domain.chats.wirings import WiringFields, create_wiring
from services.domain.errors import Invalid
from services.domain.events.announcing import announce_change
from services.domain.events.listed import ChatChanged
from services.domain.ports.chat import ChatKind
from services.domain.rooms.files import forget_files_of
from services.domain.rooms.names import called_by_name
from services.domain.rooms.people import require_person
from services.domain.rooms.queries import get_room
from services.domain.rooms.telling import KIND, tell_changed
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.storable import storable

LINK_NAME = "Rooms"


def open_room(actor: Actor, title: str) -> Chat:
    """Open a room. The first one of an organisation makes the link. Emits: RoomChanged. Raises: Invalid."""
    require_person(actor)
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
    require_person(actor)
    title = _clean_title(title)
    with tenant_transaction(actor.org_id):
        room = get_room(actor, room_id)
        room.title = title
        room.save(update_fields=["title"])
        announce_change(ChatChanged, room)
        tell_changed(room)
        return room


def close_room(actor: Actor, room_id: uuid.UUID) -> None:
    """Delete a room with all that was written in it; the agents' workspaces stay.

    Emits: RoomChanged. Queues: ForgetObjects. Raises: ChatMissing, RoleMissing.
    """
    require(actor, "chats:write", role="admin")
    with tenant_transaction(actor.org_id):
        room = get_room(actor, room_id)
        forget_files_of(room)
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


def _clean_title(title: str) -> str:
    cleaned = " ".join(storable(title).split())
    if not 1 <= len(cleaned) <= 120:
        raise Invalid("A room's name has 1 to 120 characters.", fields={"title": "1 to 120 characters"})
    return cleaned


def _own_link(actor: Actor) -> Link:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"rooms/{actor.org_id}"])
    link = Link.objects.filter(kind=KIND).order_by("id").first()
    if link is None:
        link = create_link(actor, kind=KIND, name=LINK_NAME, config={}, unknown_senders=UnknownSenders.STRICT)
        link.status, link.platform_identity = "connected", "Slipway"
        link.save(update_fields=["status", "platform_identity"])
    return link
