"""Rooms over REST."""

from __future__ import annotations

import uuid
from typing import Self

from pydantic import Field

from services.api.http.bodies import Closed
from services.api.http.idempotency import IDEMPOTENCY_KEY, read_idempotency_key
from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, make_cursor, page_of, read_cursor
from services.api.http.shapes import Changes, Moment, Page, Shape
from services.domain.chats.models import Chat
from services.domain.errors import AgentArchived, AgentMissing, ChatMissing, NameTaken, RoleMissing
from services.domain.rooms.actions import (
    MAX_TEXT,
    bring_agent,
    close_room,
    open_room,
    press_button,
    rename_room,
    write_message,
)
from services.domain.rooms.queries import Entry, get_room, list_entries, list_rooms
from services.domain.tenancy.transaction import tenant_transaction


class RoomBody(Closed):
    """A room."""

    title: str = Field(min_length=1, max_length=120)


class RoomChanges(Changes):
    """The fields to change."""

    title: str = Field(default="", min_length=1, max_length=120)


class RoomAgentBody(Closed):
    """An agent for a room. Otherwise than to all, it answers what writes its name after an @."""

    agent_id: uuid.UUID
    answers_all: bool = False


class RoomMessageBody(Closed):
    """What a person writes."""

    text: str = Field(min_length=1, max_length=MAX_TEXT, description="Markdown.")


class RoomPressBody(Closed):
    """A button that a person presses, as its message shows it."""

    message_id: str = Field(min_length=1, max_length=120)
    value: str = Field(min_length=1, max_length=200)


class RoomAgent(Shape):
    """An agent that is in a room, by a wiring that can be changed like any other."""

    wiring_id: uuid.UUID
    agent_id: uuid.UUID
    name: str
    engage: str
    is_enabled: bool


class RoomShape(Shape):
    """A room, which is a chat: its id is good wherever a chat's is."""

    id: uuid.UUID
    title: str
    agents: list[RoomAgent]
    created_at: Moment

    @classmethod
    def of(cls, room: Chat) -> Self:
        """Show a row."""
        agents = [
            RoomAgent(
                wiring_id=wiring.id,
                agent_id=wiring.agent_id,
                name=wiring.agent.name,
                engage=wiring.engage,
                is_enabled=wiring.is_enabled,
            )
            for wiring in room.wirings.all()
        ]
        return cls(id=room.id, title=room.title, agents=agents, created_at=room.created_at)


class RoomButton(Shape):
    """A choice below a message."""

    label: str
    value: str
    url: str


class RoomMessage(Shape):
    """One message of a room as it stands now, a person's (`user_id`) or an agent's (`agent_name`).

    `state` is `received` or `routed` for a person's, a delivery's for an agent's; `reason` says what became of it.
    """

    id: uuid.UUID
    message_id: str
    at: Moment
    text: str
    user_id: str | None
    sender_name: str
    agent_name: str
    state: str
    reason: str
    task_id: uuid.UUID | None
    is_edited: bool
    buttons: list[RoomButton]

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """Show an entry."""
        same = {name: getattr(entry, name) for name in cls.model_fields if name != "buttons"}
        buttons = [RoomButton(label=b.label, value=b.value, url=b.url) for b in entry.buttons]
        return cls(**same, buttons=buttons)


def _shown(call: Call, room_id: uuid.UUID) -> RoomShape:
    with tenant_transaction(call.actor.org_id):
        return RoomShape.of(get_room(call.actor, room_id))


class Rooms(Endpoint):
    """All rooms."""

    tag = "chats"

    @operation()
    def get(self, call: Call, query: PageQuery) -> Page[RoomShape]:
        """List the rooms, newest first."""
        return page_of(list_rooms(call.actor), query, RoomShape.of)

    @operation(status=201)
    def post(self, call: Call, body: RoomBody) -> RoomShape:
        """Open a room."""
        return _shown(call, open_room(call.actor, body.title).id)


class OneRoom(Endpoint):
    """One room."""

    tag = "chats"

    @operation(errors=(ChatMissing,))
    def get(self, call: Call, room_id: uuid.UUID) -> RoomShape:
        """Show a room."""
        return RoomShape.of(get_room(call.actor, room_id))

    @operation(errors=(ChatMissing,))
    def patch(self, call: Call, room_id: uuid.UUID, body: RoomChanges) -> RoomShape:
        """Give a room another name."""
        rename_room(call.actor, room_id, body.title)
        return _shown(call, room_id)

    @operation(errors=(ChatMissing, RoleMissing))
    def delete(self, call: Call, room_id: uuid.UUID) -> None:
        """Delete a room with what was written in it. Admins only."""
        close_room(call.actor, room_id)


class RoomAgents(Endpoint):
    """The agents in a room."""

    tag = "chats"

    @operation(status=201, errors=(ChatMissing, AgentMissing, AgentArchived, NameTaken))
    def post(self, call: Call, room_id: uuid.UUID, body: RoomAgentBody) -> RoomShape:
        """Have an agent in a room; it leaves when its wiring is deleted."""
        bring_agent(call.actor, room_id, body.agent_id, answers_all=body.answers_all)
        return _shown(call, room_id)


class RoomMessages(Endpoint):
    """What was said in a room."""

    tag = "chats"

    @operation(errors=(ChatMissing,))
    def get(self, call: Call, room_id: uuid.UUID, query: PageQuery) -> Page[RoomMessage]:
        """List the messages, newest first, of people and agents, as they stand now."""
        before = read_cursor(query.cursor) if query.cursor is not None else None
        entries = list_entries(call.actor, room_id, before=before, limit=query.limit + 1)[::-1]
        shown = entries[: query.limit]
        following = make_cursor(shown[-1].id) if len(entries) > query.limit else None
        return Page(items=[RoomMessage.of(entry) for entry in shown], next=following)

    @operation(status=202, headers=(IDEMPOTENCY_KEY,), errors=(ChatMissing,))
    def post(self, call: Call, room_id: uuid.UUID, body: RoomMessageBody) -> None:
        """Write in a room. The same Idempotency-Key writes once."""
        key = read_idempotency_key(call.headers[IDEMPOTENCY_KEY]) or uuid.uuid4().hex
        write_message(call.actor, room_id, body.text, key=key[:100])


class RoomPresses(Endpoint):
    """Buttons of a room."""

    tag = "chats"

    @operation(status=202, errors=(ChatMissing,))
    def post(self, call: Call, room_id: uuid.UUID, body: RoomPressBody) -> None:
        """Press a button below a message; what came of it shows on the message."""
        press_button(call.actor, room_id, body.message_id, body.value)
