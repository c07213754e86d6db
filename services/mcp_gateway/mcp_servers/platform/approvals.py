"""The tool that waits for a person's approval."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from pydantic import Field

from services.domain.approvals.held import Standing
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.holding.desk import DESK
from services.mcp_gateway.holding.words import WAIT_TOOL, words_of
from services.mcp_gateway.mcp_servers.tools import Tool, ToolInput, ToolOutput

MAX_WAIT_S = 50.0

ApprovalId = Annotated[
    uuid.UUID, Field(description="The id that stands in the answer to the call that is held.")
]


class ApprovalWaitInput(ToolInput):
    approval_id: ApprovalId
    timeout_s: float = Field(
        default=MAX_WAIT_S,
        ge=0,
        le=MAX_WAIT_S,
        description="How long to wait at most. Call again if it is pending.",
    )


class ApprovalState(ToolOutput):
    """How an approval stands. `result` is what the held call returned, once it was made."""

    approval_id: str = Field(description="The approval's id.")
    outcome: Literal["pending", "allowed", "running", "done", "denied", "expired", "refused", "lost"] = Field(
        description="How far it is; `done` when the held call was made."
    )
    is_settled: bool = Field(description="Whether nothing will change any more.")
    agreed: int = Field(description="How many people have agreed.")
    people: int = Field(description="How many must agree.")
    message: str = Field(description="What this means for you.")
    is_error: bool = Field(default=False, description="Whether the held call itself ended in an error.")
    result: Any = Field(default=None, description="The structured result of the held call, if it gave one.")
    content: list[dict[str, Any]] = Field(
        default_factory=list, description="What else the held call returned."
    )


async def _wait(caller: Caller, given: ApprovalWaitInput) -> ApprovalState:
    standing = await DESK.wait(caller.task, given.approval_id, given.timeout_s)
    state = _state_of(standing)
    if standing.outcome != "done":
        return state
    held = await DESK.result_of(caller.task, standing)
    result = held.model_dump(mode="json", by_alias=True, exclude_none=True)
    structured = result.get("structuredContent")
    # A structured result stands in the content once more, as text.
    content = [] if structured is not None else result.get("content", [])
    return state.model_copy(
        update={"is_error": bool(held.is_error), "result": structured, "content": content}
    )


def _state_of(standing: Standing) -> ApprovalState:
    return ApprovalState(
        approval_id=str(standing.approval_id),
        outcome=standing.outcome,
        is_settled=standing.is_settled,
        agreed=standing.agreed,
        people=standing.people,
        message="The call was allowed and made." if standing.outcome == "done" else words_of(standing),
    )


APPROVAL_TOOLS = (
    Tool(
        WAIT_TOOL,
        f"Wait until a person has decided on an approval that one of your calls needs, at most {MAX_WAIT_S:.0f} s, and "
        "return how it stands, with the result of the call if it was allowed. If `is_settled` is false, call again: "
        "waiting costs none of your time.",
        ApprovalWaitInput,
        ApprovalState,
        _wait,
        reads_only=True,
    ),
)
