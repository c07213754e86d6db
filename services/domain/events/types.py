"""The durable events that people's clients see: closed classes, past tense, one wire name each."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field


class EventData(BaseModel):
    """The `data` of one event type."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: ClassVar[str]

    def to_data(self) -> dict[str, Any]:
        """Return the fields that say something."""
        return self.model_dump(mode="json", exclude_none=True)


class TaskQueued(EventData):
    type: ClassVar[str] = "task.queued"
    task_id: str
    agent_id: str
    source: str


class TaskStarted(EventData):
    type: ClassVar[str] = "task.started"
    task_id: str


class TaskWaiting(EventData):
    """The turn does nothing but wait for a person; its clock stands still. `approval_id` names what it waits for."""

    type: ClassVar[str] = "task.waiting"
    task_id: str
    reason: Literal["approval", "question"]
    approval_id: str | None = None


class TaskResumed(EventData):
    """The turn goes on; `waited_ms` is how long it has waited in all."""

    type: ClassVar[str] = "task.resumed"
    task_id: str
    waited_ms: int


class QuestionAsked(EventData):
    """An agent asks people, and waits. `options` may be empty; `asked_of` empty means whoever is there."""

    type: ClassVar[str] = "question.asked"
    question_id: str
    text: str
    options: list[str] = Field(default_factory=list)
    asked_of: list[str] = Field(default_factory=list)
    expires_at: str


class QuestionAnswered(EventData):
    """A question is closed. `option` counts from 0, and is missing for an answer in one's own words."""

    type: ClassVar[str] = "question.answered"
    question_id: str
    status: Literal["answered", "expired", "withdrawn"]
    answer: str = ""
    option: int | None = None
    by: str = ""
    via: str = ""


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


class MessageEdited(EventData):
    """What a turn that has not begun is asked to do has changed: its writer edited the message in the chat."""

    type: ClassVar[str] = "message.edited"
    text: str


class MessageConsumed(EventData):
    type: ClassVar[str] = "message.consumed"
    id: str


class MessageSettled(EventData):
    """A follow-up's end: the turn that took it has ended, or it became the task `moved_to`, or it was dropped."""

    type: ClassVar[str] = "message.settled"
    id: str
    state: Literal["taken", "moved", "dropped"]
    moved_to: str | None = None
    reason: str = ""


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


class CommandStarted(EventData):
    type: ClassVar[str] = "command.started"
    command_id: str
    text: str


class CommandFinished(EventData):
    """A durable command has ended; its output is with the command."""

    type: ClassVar[str] = "command.finished"
    command_id: str
    status: Literal["succeeded", "failed", "cancelled", "expired", "lost"]
    exit_code: int | None = None
    output_bytes: int = 0
    error: str = ""


class AnswerReturned(EventData):
    """A task's answer was given to the workspace of the agent that asked, or could not be, for a `reason`.

    `said_in` is the task that it became, or the message to the task at work there.
    """

    type: ClassVar[str] = "answer.returned"
    workspace_id: str
    said_in: str | None = None
    reason: str = ""


class WorkspaceClaimed(EventData):
    """Somebody goes on with delivered work in a chat: what they say there becomes turns of this workspace."""

    type: ClassVar[str] = "workspace.claimed"
    user_id: str
    chat_id: str
    thread_id: str = ""


class EgressRefused(EventData):
    """`count` is how often in this task so far; `approval_id` names the question that a person may answer."""

    type: ClassVar[str] = "egress.refused"
    host: str
    port: int
    method: str
    reason: str
    count: int = 1
    approval_id: str | None = None


class ApprovalRequested(EventData):
    type: ClassVar[str] = "approval.requested"
    approval_id: str
    kind: str
    subject: dict[str, Any]
    workspace_id: str | None = None


class ApprovalAgreed(EventData):
    """One person's yes to what `needed` people must agree to; `agreed` have by now."""

    type: ClassVar[str] = "approval.agreed"
    approval_id: str
    user_id: str
    agreed: int
    needed: int
    workspace_id: str | None = None


class ApprovalDecided(EventData):
    """`decided_by` is the person whose word it was, `agreed_by` all of them where two were needed."""

    type: ClassVar[str] = "approval.decided"
    approval_id: str
    status: Literal["allowed", "denied", "expired"]
    scope: str = ""
    workspace_id: str | None = None
    decided_by: str | None = None
    agreed_by: list[str] = Field(default_factory=list)


class ApprovalRuleChanged(EventData):
    """A rule about tool calls was made, changed or removed, and by whom; in the organisation's stream."""

    type: ClassVar[str] = "approval_rule.changed"
    rule_id: str
    change: Literal["created", "updated", "deleted"]
    effect: Literal["allow", "hold", "deny"]
    tool: str
    user_id: str | None = None


class SenderChanged(EventData):
    """What a person said about somebody who writes to a bot; in the organisation's stream."""

    type: ClassVar[str] = "sender.changed"
    sender_id: str
    link_id: str
    name: str
    standing: Literal["unknown", "allowed", "denied", "forgotten"]
    user_id: str | None = None


class RoomChanged(EventData):
    """Something was written or changed in a room, or a room was opened or closed; in the organisation's stream."""

    type: ClassVar[str] = "room.changed"
    chat_id: str


class ImageChanged(EventData):
    """How far the derived image of an agent is; in the organisation's stream."""

    type: ClassVar[str] = "image.changed"
    image_id: str
    agent_id: str
    status: Literal["queued", "building", "ready", "failed"]
    error: str = ""


class NotificationCreated(EventData):
    type: ClassVar[str] = "notification.created"
    message: str
    urgency: Literal["low", "normal", "high"] = "normal"
    task_id: str | None = None


class BudgetReached(EventData):
    """`share` per cent of a budget for models are spent; at 100 a call found no room. `bucket` names the period."""

    type: ClassVar[str] = "budget.reached"
    budget_id: str
    level: str
    period: str
    bucket: str
    subject_id: str | None = None
    share: int
    limit_microusd: int
    spent_microusd: int


class LlmPolicyChanged(EventData):
    """The rules for models were changed: by whom, and each field's value before and after."""

    type: ClassVar[str] = "llm_policy.changed"
    actor: str
    user_id: str | None = None
    changes: dict[str, Any] = Field(default_factory=dict)


class LlmKeyChanged(EventData):
    """A key for models was added, changed, refused by its vendor, or deleted."""

    type: ClassVar[str] = "llm_key.changed"
    key_id: str
    name: str
    vendor: str
    change: Literal["created", "changed", "refused", "deleted"]
    user_id: str | None = None


class AppConnected(EventData):
    """A program of this person's was connected: it may now use the MCP servers named by `scopes`."""

    type: ClassVar[str] = "app.connected"
    app_id: str
    name: str
    resource: str
    scopes: list[str]


class AppDisconnected(EventData):
    """A connected program's tokens are all dead. `reuse`: one that was spent was shown again, so it may be stolen."""

    type: ClassVar[str] = "app.disconnected"
    app_id: str
    name: str
    reason: Literal["person", "client", "reuse"]


FROM_RUNNER: dict[str, type[EventData]] = {
    cls.type: cls for cls in (MessageCreated, MessageConsumed, ToolCalled, ToolReturned)
}
"""What a runner may add to its workspace's stream as it is. The other types go through an action."""

LIVE_FROM_RUNNER = frozenset({"text.delta", "reasoning.delta", "tool.output", "typing"})
