"""The one tool of this server."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.domain import notifications
from services.domain.notifications import MAX_MESSAGE_CHARS
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.tools import Tool, ToolInput, ToolOutput
from services.mcp_gateway.threads import run_in_thread


class NotifyInput(ToolInput):
    message: str = Field(
        min_length=1, max_length=MAX_MESSAGE_CHARS, description="What to tell, in one or two sentences."
    )
    urgency: Literal["low", "normal", "high"] = Field(
        default="normal", description="`high` only for what cannot wait until your task ends."
    )


class Notified(ToolOutput):
    seq: int = Field(description="The notification's number among all that this person received.")


async def _notify(caller: Caller, given: NotifyInput) -> Notified:
    event = await run_in_thread(notifications.notify_user, caller.actor, given.message, given.urgency)
    return Notified(seq=event.seq)


TOOLS = (
    Tool(
        "notify_user",
        "Send the person you work for a short message now, while you keep working: a milestone of long work, or "
        "something they must know at once. It asks nothing and brings no answer. At most 100 in a task.",
        NotifyInput,
        Notified,
        _notify,
    ),
)
