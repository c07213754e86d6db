"""Rooms over REST."""

from __future__ import annotations

import uuid
from typing import Self

from pydantic import Field

from services.api.http.bodies import Closed
from services.api.http.idempotency import IDEMPOTENCY_KEY, read_idempotency_key
from services.api.http.operations import Call, Download, Endpoint, Upload, operation
from services.api.http.paging import PageQuery, make_cursor, page_of, read_cursor
from services.api.http.shapes import Changes, Moment, Page, Shape
from services.api.room_files import download_file, keep_upload
from services.domain.chats.models import Chat
from services.domain.errors import (
    AgentArchived,
    AgentMissing,
    ChatMessageMissing,
    ChatMissing,
    FileMissing,
    FileTooLarge,
    NameTaken,
    RoleMissing,
)
from services.domain.rooms.actions import bring_agent, close_room, open_room, rename_room
from services.domain.rooms.files import MAX_FILES
from services.domain.rooms.queries import Entry, get_room, list_entries, list_rooms
from services.domain.rooms.writing import (
    MAX_TEXT,
    Words,
    add_reaction,
    press_button,
    remove_reaction,
    write_message,
)
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
    """What a person writes: words, files that they uploaded before, or both."""

    text: str = Field(default="", max_length=MAX_TEXT, description="Markdown.")
    file_ids: list[uuid.UUID] = Field(default_factory=list, max_length=MAX_FILES)
    thread_id: str = Field(
        default="", max_length=120, description="The `message_id` in whose thread it stands, if in one."
    )


class RoomReactionBody(Closed):
    """A reaction to a message."""

    message_id: str = Field(min_length=1, max_length=120)
    emoji: str = Field(min_length=1, max_length=40, description="An emoji such as 👍.")


class RoomReactionQuery(Closed):
    """Which reaction."""

    message_id: str = Field(default="", max_length=120)
    emoji: str = Field(default="", max_length=40)


class RoomMessagesQuery(PageQuery):
    """Which messages."""

    thread_id: str = Field(
        default="",
        max_length=120,
        description="The thread below this `message_id`, with it. Else what is in none.",
    )


class RoomFileQuery(Closed):
    """What the file is called."""

    name: str = Field(default="file", min_length=1, max_length=200)


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


class RoomFileShape(Shape):
    """A file of a message. Its type is what its bytes say, of an agent's what its name says."""

    id: uuid.UUID
    name: str
    content_type: str
    size_bytes: int


class RoomReactionShape(Shape):
    """An emoji below a message, and who gave it; `is_own`: you are among them."""

    emoji: str
    names: list[str]
    is_own: bool


class RoomMessage(Shape):
    """One message of a room as it stands now, a person's (`user_id`) or an agent's (`agent_name`).

    `state` is `received` or `routed` for a person's, a delivery's for an agent's; `reason` says what became of it.
    `thread_id` is the message that it stands below; `replies` counts what stands below it.
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
    thread_id: str
    replies: int
    buttons: list[RoomButton]
    files: list[RoomFileShape]
    reactions: list[RoomReactionShape]

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """Show an entry."""
        lists = ("buttons", "files", "reactions")
        same = {name: getattr(entry, name) for name in cls.model_fields if name not in lists}
        return cls(
            **same,
            buttons=[RoomButton(label=b.label, value=b.value, url=b.url) for b in entry.buttons],
            files=[
                RoomFileShape(id=f.id, name=f.name, content_type=f.content_type, size_bytes=f.size_bytes)
                for f in entry.files
            ],
            reactions=[
                RoomReactionShape(emoji=r.emoji, names=list(r.names), is_own=r.is_own)
                for r in entry.reactions
            ],
        )


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
    def get(self, call: Call, room_id: uuid.UUID, query: RoomMessagesQuery) -> Page[RoomMessage]:
        """List the messages, newest first, of people and agents, as they stand now; without or within a thread."""
        before = read_cursor(query.cursor) if query.cursor is not None else None
        entries = list_entries(
            call.actor, room_id, thread_id=query.thread_id, before=before, limit=query.limit + 1
        )[::-1]
        shown = entries[: query.limit]
        following = make_cursor(shown[-1].id) if len(entries) > query.limit else None
        return Page(items=[RoomMessage.of(entry) for entry in shown], next=following)

    @operation(status=202, headers=(IDEMPOTENCY_KEY,), errors=(ChatMissing, ChatMessageMissing, FileMissing))
    def post(self, call: Call, room_id: uuid.UUID, body: RoomMessageBody) -> None:
        """Write in a room. The same Idempotency-Key writes once."""
        key = read_idempotency_key(call.headers[IDEMPOTENCY_KEY]) or uuid.uuid4().hex
        words = Words(body.text, tuple(body.file_ids), body.thread_id)
        write_message(call.actor, room_id, words, key=key[:100])


class RoomFiles(Endpoint):
    """Files to write with."""

    tag = "chats"

    @operation(status=201, errors=(ChatMissing, FileTooLarge), is_waiting=True)
    def post(self, call: Call, room_id: uuid.UUID, query: RoomFileQuery, upload: Upload) -> RoomFileShape:
        """Upload a file; it is in the room with the message that names it, and forgotten after a day without one."""
        _shown(call, room_id)
        file = keep_upload(call.actor, room_id, query.name, upload.chunks(), upload.size)
        return RoomFileShape(
            id=file.id, name=file.name, content_type=file.content_type, size_bytes=file.size_bytes
        )


class OneRoomFile(Endpoint):
    """A file of a message."""

    tag = "chats"

    @operation(errors=(ChatMissing, FileMissing), is_waiting=True)
    def get(self, call: Call, room_id: uuid.UUID, file_id: uuid.UUID) -> Download:
        """Download a file that a person or an agent sent."""
        return download_file(call.actor, room_id, file_id)


class RoomReactions(Endpoint):
    """People's reactions to messages."""

    tag = "chats"

    @operation(errors=(ChatMissing, ChatMessageMissing))
    def put(self, call: Call, room_id: uuid.UUID, body: RoomReactionBody) -> None:
        """React to a message; the same again changes nothing."""
        add_reaction(call.actor, room_id, body.message_id, body.emoji)

    @operation(errors=(ChatMissing, ChatMessageMissing))
    def delete(self, call: Call, room_id: uuid.UUID, query: RoomReactionQuery) -> None:
        """Take a reaction back."""
        remove_reaction(call.actor, room_id, query.message_id, query.emoji)


class RoomPresses(Endpoint):
    """Buttons of a room."""

    tag = "chats"

    @operation(status=202, errors=(ChatMissing,))
    def post(self, call: Call, room_id: uuid.UUID, body: RoomPressBody) -> None:
        """Press a button below a message; what came of it shows on the message."""
        press_button(call.actor, room_id, body.message_id, body.value)
