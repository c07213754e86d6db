"""The parts of Discord's JSON that are read, and what their ids say. Unknown fields are left out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from services.domain.ports.chat import Sender

# Source: https://docs.discord.com/developers/reference#snowflakes
_EPOCH_MS = 1_420_070_400_000
# Kinds of channels. Source: https://docs.discord.com/developers/resources/channel#channel-object-channel-types
DIRECT, GROUP_DIRECT = 1, 3
THREADS = (10, 11, 12)

Snowflake = Annotated[str, Field(pattern=r"^[0-9]{1,19}$")]


class Lenient(BaseModel):
    """A part of the JSON: known fields have their types."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)


class User(Lenient):
    """An account, a person's or a bot's."""

    id: Snowflake
    username: str = ""
    global_name: str | None = None
    bot: bool = False

    def sender(self, nick: str | None = None) -> Sender:
        """Return who this is, by the name that people see."""
        return Sender(self.id, nick or self.global_name or self.username or self.id, self.bot)


class Member(Lenient):
    """An account in a server; without `user` beside a message, whose author it is."""

    user: User | None = None
    nick: str | None = None


class Channel(Lenient):
    """A channel or a thread."""

    id: Snowflake
    type: int = 0
    name: str | None = None
    parent_id: Snowflake | None = None
    guild_id: Snowflake | None = None


def made_at(snowflake: str) -> datetime:
    """Return when an id was made, which it carries to the millisecond."""
    return datetime.fromtimestamp(((int(snowflake) >> 22) + _EPOCH_MS) / 1000, UTC)
