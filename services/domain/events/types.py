"""The durable events that people's clients see: closed classes, past tense, one wire name each."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field


class EventData(BaseModel):
    """The `data` of one event type."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: ClassVar[str]


class TaskQueued(EventData):
    type: ClassVar[str] = "task.queued"
    task_id: str
    agent_id: str
    source: str


class TaskStarted(EventData):
    type: ClassVar[str] = "task.started"
    task_id: str


class TaskFinished(EventData):
    type: ClassVar[str] = "task.finished"
    task_id: str
    status: str
    text: str = ""
    error: dict[str, str] | None = None
    usage: dict[str, Any] = Field(default_factory=dict)


class TurnStarted(EventData):
    type: ClassVar[str] = "turn.started"
    provider: str = ""


class TurnDone(EventData):
    type: ClassVar[str] = "turn.done"
    status: Literal["succeeded", "failed", "cancelled", "expired"]
    text: str = ""
    error: dict[str, str] | None = None
    usage: dict[str, Any] | None = None
    turns: int = Field(default=1, ge=0, le=1_000_000)
    tool_calls: int = Field(default=0, ge=0, le=10_000_000)


class MessageCreated(EventData):
    type: ClassVar[str] = "message.created"
    role: Literal["user", "assistant"]
    text: str
    id: str | None = None


class MessageConsumed(EventData):
    type: ClassVar[str] = "message.consumed"
    id: str


class ToolCalled(EventData):
    type: ClassVar[str] = "tool.called"
    call_id: str
    name: str
    input: Any = None


class ToolReturned(EventData):
    type: ClassVar[str] = "tool.returned"
    call_id: str
    is_error: bool = False
    output: str = ""
    truncated: bool = False
    duration_ms: int | None = None


class SandboxChanged(EventData):
    type: ClassVar[str] = "sandbox.changed"
    state: str
    reason: str = ""


class DeliveryChanged(EventData):
    type: ClassVar[str] = "delivery.changed"
    delivery_id: str
    status: str
    error: str = ""


class NotificationCreated(EventData):
    type: ClassVar[str] = "notification.created"
    message: str
    urgency: Literal["low", "normal", "high"] = "normal"
    task_id: str | None = None


FROM_RUNNER: dict[str, type[EventData]] = {
    cls.type: cls for cls in (MessageCreated, MessageConsumed, ToolCalled, ToolReturned)
}
"""What a runner may add to its workspace's stream as it is. The other types go through an action."""

LIVE_FROM_RUNNER = frozenset({"text.delta", "reasoning.delta", "tool.output", "typing"})
