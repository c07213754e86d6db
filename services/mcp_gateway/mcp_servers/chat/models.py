"""What the chat tools take and give."""

from __future__ import annotations

import uuid
from typing import Annotated, Literal, Self

from pydantic import Field

from services.domain.chats.sending import Written
from services.domain.contacts.between_agents import Said
from services.mcp_gateway.mcp_servers.tools import ToolInput, ToolOutput

MAX_TEXT_CHARS = 40_000

To = Annotated[
    str,
    Field(
        max_length=60,
        description="Where to: `here` (the chat that asked you), or the name of one of list_destinations.",
    ),
]
Thread = Annotated[
    str | None,
    Field(
        max_length=120,
        description="The platform's id of a thread or topic there. Leave it out for the usual place.",
    ),
]
Text = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_TEXT_CHARS,
        description="Markdown. It is turned into the platform's own markup, and split if it is long.",
    ),
]
MessageId = Annotated[uuid.UUID, Field(description="The message_id that sending it returned.")]
Key = Annotated[
    str | None,
    Field(
        max_length=100,
        description="The same call again sends nothing. To say the very same once more, give a key of your own.",
    ),
]
State = Literal["queued", "sending", "sent", "failed"]


class SendInput(ToolInput):
    to: To = "here"
    text: Text
    thread: Thread = None
    reply_to: uuid.UUID | None = Field(
        default=None, description="The message_id of a message of yours there that this answers."
    )
    key: Key = None


class EditInput(ToolInput):
    message_id: MessageId
    text: Text


class MessageInput(ToolInput):
    message_id: MessageId


class ReactInput(ToolInput):
    emoji: str = Field(
        min_length=1, max_length=80, description="An emoji such as 👍, or its short name such as `thumbsup`."
    )
    message_id: uuid.UUID | None = Field(
        default=None,
        description="A message of yours. Leave it out to react to the message that asked you.",
    )


class NoInput(ToolInput):
    """Nothing."""


class Sent(ToolOutput):
    """A message on its way. It is sent even if you end; `is_repeat` says that it was asked for before."""

    message_id: str = Field(description="For edit_message, delete_message, add_reaction and reply_to.")
    state: State = Field(
        description="`queued` and `sending`: on its way. `sent`: it is there. `failed`: see `error`."
    )
    parts: int = Field(description="How many messages of the platform it takes.")
    is_repeat: bool = Field(description="Whether the same was asked for before, so that nothing new is sent.")
    error: str | None = Field(
        default=None, description="What the platform last refused it for; null if it did not."
    )

    @classmethod
    def to_agent(cls, said: Said) -> Self:
        """Show what was said to another agent."""
        return cls(message_id=str(said.id), state="sent", parts=1, is_repeat=False)

    @classmethod
    def of(cls, written: Written) -> Self:
        """Show what was written."""
        first = written.first
        states = {row.status for row in written.rows}
        worst: State = next(
            (state for state in ("failed", "sending", "queued") if state in states),
            "sent",
        )
        error = next((row.error for row in written.rows if row.error), None)
        return cls(
            message_id=str(first.target_id or first.id),
            state=worst,
            parts=len(written.rows),
            is_repeat=written.is_repeat,
            error=error,
        )


class DestinationShown(ToolOutput):
    name: str = Field(description="What to give as `to`.")
    kind: Literal["here", "chat", "person", "agent"] = Field(
        description="`here`: what asked you, a chat or another agent. `chat`: one named for you. `person`: somebody's "
        "own chat. `agent`: another agent, whose answer comes back to you as a message."
    )
    platform: str | None = Field(
        description="Such as `telegram` or `slack`; null for a person who has linked no chat."
    )
    title: str = Field(description="The chat's title on its platform; may be empty.")
    description: str = Field(description="What people say that it is for; may be empty.")
    can: list[str] = Field(
        description="What the platform can do beyond text: edit, delete, react, files, buttons."
    )


class Destinations(ToolOutput):
    destinations: list[DestinationShown] = Field(
        description="All that you may send to; `here` comes first, if a chat asked you."
    )
