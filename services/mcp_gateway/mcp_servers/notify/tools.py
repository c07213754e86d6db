"""The one tool of this server."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.domain import notifications
from services.domain.notifications import ALL, MAX_MESSAGE_CHARS
from services.kit.clock import rfc3339
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.chat.platforms import adapter_of
from services.mcp_gateway.mcp_servers.tools import Tool, ToolInput, ToolOutput
from services.mcp_gateway.threads import run_in_thread


class NotifyInput(ToolInput):
    message: str = Field(
        min_length=1, max_length=MAX_MESSAGE_CHARS, description="What to tell, in one or two sentences."
    )
    urgency: Literal["low", "normal", "high"] = Field(
        default="normal",
        description="`high` only for what cannot wait until your task ends: it is the one that goes through at night.",
    )
    channel: str = Field(
        default=ALL,
        max_length=30,
        description="`all`, `dashboard`, or one platform that the person has linked, such as `telegram`.",
    )


class ChannelShown(ToolOutput):
    channel: str = Field(description="A channel of the person.")
    state: Literal["sent", "queued", "held", "failed"] = Field(
        description="`held`: the person has quiet hours now, and gets it at `until`."
    )
    until: str | None = Field(default=None, description="When it is sent, in UTC, if it is held.")
    error: str | None = Field(default=None, description="Why it could not be sent.")


class Notified(ToolOutput):
    seq: int = Field(description="The notification's number among all that this person received.")
    is_repeat: bool = Field(description="The very same was told before, so that nothing new was sent.")
    channels: list[ChannelShown] = Field(description="What became of it in each channel.")


def _notify_now(caller: Caller, given: NotifyInput) -> Notified:
    told = notifications.notify_user(
        caller.actor,
        given.message,
        given.urgency,
        channel=given.channel,
        render=lambda kind, text: adapter_of(kind).render(text),
    )
    return Notified(
        seq=told.seq,
        is_repeat=told.is_repeat,
        channels=[
            ChannelShown(
                channel=one.channel,
                state=one.state,
                until=rfc3339(one.until) if one.until else None,
                error=one.error or None,
            )
            for one in told.channels
        ],
    )


async def _notify(caller: Caller, given: NotifyInput) -> Notified:
    return await run_in_thread(_notify_now, caller, given)


TOOLS = (
    Tool(
        "notify_user",
        "Send the person you work for a short message now, while you keep working: a milestone of long work, or "
        "something they must know at once. It asks nothing and brings no answer. At most 100 in a task; the same "
        "message is sent once.",
        NotifyInput,
        Notified,
        _notify,
    ),
)
