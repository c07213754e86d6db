"""Every type of event: what it says, in which streams, of which object, and who may see it.

Whoever may GET the object of an event may see the event, and nobody else. What everybody may see who follows a stream
needs no more than that; for the rest there is the scope that reads the object, and for what is somebody's own the
event's `readers`.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from services.domain.actors import Actor, may
from services.domain.events import listed, types
from services.domain.events.types import EventData

StreamKind = Literal["workspace", "user", "org"]

HIDDEN = "event.hidden"
"""What somebody gets in place of an event that is not for them: its number, so that there is no gap, no more."""
_ADMINS = ("owner", "admin")


@dataclass(frozen=True, slots=True)
class EventKind:
    """A type of event. `route` is where its object is, its ids from the data, or `stream_id` from the stream's name.

    `admins_read` says that an organisation's admins see also those of single `readers`.
    """

    data: type[EventData]
    streams: tuple[StreamKind, ...]
    route: str
    scope: str | None = None
    admins_read: bool = False

    @property
    def is_open(self) -> bool:
        """Say whether everybody who may follow a stream may see it, unless it has readers."""
        return self.scope is None or (self.streams == ("workspace",) and self.scope == "workspaces:read")

    def is_for(self, actor: Actor, readers: Collection[uuid.UUID] | None) -> bool:
        """Say whether somebody who follows the stream may see an event of this type."""
        if self.scope is not None and not may(actor, self.scope):
            return False
        if readers is None or (self.admins_read and actor.role in _ADMINS):
            return True
        return actor.user_id in readers


def _of_workspace(*data: type[EventData]) -> list[EventKind]:
    """Return the types that tell of a conversation, whose object is the workspace itself."""
    return [EventKind(one, ("workspace",), "/v1/workspaces/{stream_id}", "workspaces:read") for one in data]


def _of_org(data: type[listed.Listed], path: str, scope: str, *, admins_read: bool = False) -> EventKind:
    return EventKind(data, ("org",), f"/v1/{path}/{{{data.key}}}", scope, admins_read)


_BOTH: tuple[StreamKind, ...] = ("workspace", "org")
_APPROVAL = "/v1/approvals/{approval_id}"
_ALL = (
    *_of_workspace(
        types.TaskQueued, types.TaskStarted, types.TaskWaiting, types.TaskResumed, types.TaskFinished,
        types.TurnStarted, types.TurnDone, types.MessageCreated, types.MessageEdited, types.MessageConsumed,
        types.MessageSettled, types.ToolCalled, types.ToolReturned, types.SandboxChanged, types.AnswerReturned,
        types.WorkspaceClaimed, types.EgressRefused,
    ),
    EventKind(types.QuestionAsked, ("workspace",), "/v1/questions/{question_id}", "tasks:read"),
    EventKind(types.QuestionAnswered, ("workspace",), "/v1/questions/{question_id}", "tasks:read"),
    EventKind(types.CommandStarted, ("workspace",), "/v1/commands/{command_id}", "commands:read"),
    EventKind(types.CommandFinished, ("workspace",), "/v1/commands/{command_id}", "commands:read"),
    EventKind(types.ApprovalRequested, _BOTH, _APPROVAL, "workspaces:read"),
    EventKind(types.ApprovalAgreed, _BOTH, _APPROVAL, "workspaces:read"),
    EventKind(types.ApprovalDecided, _BOTH, _APPROVAL, "workspaces:read"),
    EventKind(listed.DeliveryChanged, _BOTH, "/v1/deliveries/{delivery_id}", "chats:read"),
    EventKind(types.NotificationCreated, ("user",), "/v1/me"),
    EventKind(types.AppConnected, ("user",), "/v1/connected_apps/{app_id}", "tokens:read"),
    EventKind(types.AppDisconnected, ("user",), "/v1/connected_apps", "tokens:read"),
    EventKind(types.ApprovalRuleChanged, ("org",), "/v1/approval_rules/{rule_id}", "agents:read"),
    EventKind(types.SenderChanged, ("org",), "/v1/links/{link_id}/senders/{sender_id}", "chats:read"),
    EventKind(types.RoomChanged, ("org",), "/v1/rooms/{chat_id}", "chats:read"),
    EventKind(types.ImageChanged, ("org",), "/v1/images/{image_id}", "agents:read"),
    EventKind(types.BudgetReached, ("org",), "/v1/budgets/{budget_id}", "budgets:read", admins_read=True),
    EventKind(types.LlmPolicyChanged, ("org",), "/v1/llm/policy", "models:read"),
    EventKind(types.LlmKeyChanged, ("org",), "/v1/llm/keys/{key_id}", "models:read"),
    _of_org(listed.AgentChanged, "agents", "agents:read", admins_read=True),
    _of_org(listed.SkillChanged, "skills", "agents:read"),
    _of_org(listed.WorkspaceChanged, "workspaces", "workspaces:read"),
    _of_org(listed.TaskChanged, "tasks", "tasks:read"),
    _of_org(listed.PlaybookChanged, "playbooks", "playbooks:read"),
    _of_org(listed.QuestionChanged, "questions", "tasks:read"),
    _of_org(listed.MemberChanged, "members", "members:read"),
    _of_org(listed.TokenChanged, "tokens", "tokens:read", admins_read=True),
    _of_org(listed.LinkChanged, "links", "chats:read"),
    _of_org(listed.ChatChanged, "chats", "chats:read"),
    _of_org(listed.WiringChanged, "wirings", "chats:read"),
    _of_org(listed.DestinationChanged, "destinations", "chats:read"),
    _of_org(listed.SecretChanged, "secrets", "secrets:read", admins_read=True),
    _of_org(listed.IntegrationChanged, "integrations", "integrations:read", admins_read=True),
    _of_org(listed.McpServerChanged, "mcp_servers", "mcp_servers:read", admins_read=True),
    _of_org(listed.NoteChanged, "memories", "memory:read"),
    _of_org(listed.BudgetChanged, "budgets", "budgets:read", admins_read=True),
)  # fmt: skip

KINDS: dict[str, EventKind] = {kind.data.type: kind for kind in _ALL}


def is_event_for(actor: Actor, event_type: str, readers: Collection[uuid.UUID] | None) -> bool:
    """Say whether an actor who follows the stream may see an event; one of a type unknown here is for nobody."""
    kind = KINDS.get(event_type)
    return kind is not None and kind.is_for(actor, readers)
