"""Why messages were answered or not, over REST."""

from __future__ import annotations

import uuid
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Moment, Page, Shape
from services.domain.chats.explaining import explain_reason
from services.domain.chats.models import InboundMessage
from services.domain.chats.queries import get_decided, list_decided
from services.domain.errors import ChatMessageMissing, ChatMissing

Became = Literal[
    "pending",
    "task",
    "steered",
    "context",
    "dropped",
    "held",
    "refused",
    "rejected",
    "no_wiring",
    "deleted",
    "failed",
]


class VerdictShape(BaseModel):
    """What one wiring made of a message, with its rule as it was then. `detail` is the code of what refused it."""

    model_config = ConfigDict(extra="forbid")

    wiring_id: uuid.UUID
    agent_id: uuid.UUID
    agent: str
    engage: str
    priority: int
    is_exclusive: bool
    reason: str
    why: str
    becomes: Literal["task", "steered", "context", "dropped", "held", "refused", "rejected"]
    task_id: uuid.UUID | None
    detail: str


class WriterShape(BaseModel):
    """What the gate said of a message's writer: who they are to the organisation, and whether they are heard."""

    model_config = ConfigDict(extra="forbid")

    standing: str
    becomes: Literal["heard", "held", "refused"]
    reason: str
    why: str


class DecisionShape(Shape):
    """A message of a chat and what became of it. `outcome` is empty while it waits to be routed.

    `writer` is null where the gate was not asked, as for commands. `wirings` are in the order of their judging.
    """

    id: uuid.UUID
    chat_id: uuid.UUID
    thread_id: str
    platform_message_id: str
    sender_id: str
    sender_name: str
    is_bot: bool
    is_mention: bool
    text: str
    sent_at: Moment
    edited_at: Moment | None
    deleted_at: Moment | None
    created_at: Moment
    routed_at: Moment | None
    outcome: str
    writer: WriterShape | None
    wirings: list[VerdictShape]

    @classmethod
    def of(cls, message: InboundMessage) -> Self:
        """Show a row that was read with its decision."""
        same = {
            name: getattr(message, name) for name in cls.model_fields if name not in ("writer", "wirings")
        }
        decision = getattr(message, "decision", None)
        if decision is None:
            return cls(**same, writer=None, wirings=[])
        writer = (
            WriterShape(
                standing=decision.standing,
                becomes=decision.ruling,
                reason=decision.reason,
                why=explain_reason(decision.reason),
            )
            if decision.ruling
            else None
        )
        wirings = [VerdictShape(**entry, why=explain_reason(entry["reason"])) for entry in decision.wirings]
        return cls(**same, writer=writer, wirings=wirings)


class DecisionQuery(PageQuery):
    """Which messages of a chat."""

    became: Became | None = Field(default=None, description="What became of it; `pending` is not routed yet.")
    thread_id: str | None = Field(default=None, max_length=120)
    sender_id: str | None = Field(
        default=None, max_length=120, description="The platform's id of its writer."
    )
    platform_message_id: str | None = Field(default=None, max_length=120)
    agent_id: uuid.UUID | None = Field(default=None, description="Only what a wiring to this agent judged.")

    def filters(self) -> dict[str, Any]:
        """Return the look-ups: what became of it is the beginning of the outcome, the agents are in the decision."""
        found = super().filters()
        became, agent_id = found.pop("became", None), found.pop("agent_id", None)
        if became == "pending":
            found["routed_at"] = None
        elif became is not None:
            found["outcome__startswith"] = became
        if agent_id is not None:
            found["decision__wirings__contains"] = [{"agent_id": str(agent_id)}]
        return found


class Decisions(Endpoint):
    """The decisions of one chat."""

    tag = "chats"

    @operation(errors=(ChatMissing,))
    def get(self, call: Call, chat_id: uuid.UUID, query: DecisionQuery) -> Page[DecisionShape]:
        """List what came into a chat and why it was answered or not, newest first."""
        return page_of(list_decided(call.actor, chat_id), query, DecisionShape.of)


class OneDecision(Endpoint):
    """The decision about one message."""

    tag = "chats"

    @operation(errors=(ChatMessageMissing,))
    def get(self, call: Call, message_id: uuid.UUID) -> DecisionShape:
        """Say why a message was answered or not."""
        return DecisionShape.of(get_decided(call.actor, message_id))
