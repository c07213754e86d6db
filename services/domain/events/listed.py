"""Events of the objects that lists show: what a list shows of one, as it is after the change.

They go to the organisation's stream, by `announcing`. Who has a list and applies these to it has the list as it is now.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, ClassVar, Literal, Self

from services.domain.events.types import EventData
from services.kit.moments import Moment

Change = Literal["created", "updated", "deleted"]


class Listed(EventData):
    """One object of a list. After `deleted` it is gone for whoever gets this, and this is what it was last.

    `key` is the field that names the object. `sources` maps a field to the row's attribute where that has another name.
    What hangs on an object goes with it, and nothing more is said of it: `parents` maps the fields that name such
    objects to the type of their events.
    """

    key: ClassVar[str]
    parents: ClassVar[dict[str, str]] = {}
    sources: ClassVar[dict[str, str]] = {}

    change: Change = "updated"

    @classmethod
    def of(cls, row: Any, change: Change) -> Self:
        """Show a row, inside the tenant's transaction."""
        sources = {cls.key: "id", **cls.sources}
        names = [name for name in cls.model_fields if name != "change"]
        values = {name: attrgetter(sources.get(name, name))(row) for name in names}
        return cls(change=change, **values)

    @classmethod
    def readers_of(cls, row: Any) -> Sequence[uuid.UUID] | None:
        """Return who alone may see a row, beside admins where its type says so; None is whoever holds the scope."""
        return None

    def to_data(self) -> dict[str, Any]:
        """Return all fields: what is null is news too."""
        return self.model_dump(mode="json")


class Owned(Listed):
    """An object that may be a person's own."""

    owner_id: uuid.UUID | None

    @classmethod
    def readers_of(cls, row: Any) -> Sequence[uuid.UUID] | None:
        return None if row.owner_id is None else (row.owner_id,)


class OfPerson(Listed):
    """An object that is always a person's own."""

    @classmethod
    def readers_of(cls, row: Any) -> Sequence[uuid.UUID] | None:
        return () if row.user_id is None else (row.user_id,)


class AgentChanged(Listed):
    """An archived one is in no list any more, and can still be read."""

    type: ClassVar[str] = "agent.changed"
    key: ClassVar[str] = "agent_id"
    agent_id: uuid.UUID
    name: str
    slug: str
    description: str
    provider: str
    model: str
    image: str
    owner_id: uuid.UUID | None
    is_shared: bool
    created_at: Moment
    updated_at: Moment
    archived_at: Moment | None

    @classmethod
    def readers_of(cls, row: Any) -> Sequence[uuid.UUID] | None:
        if row.is_shared:
            return None
        return sorted({*row.people.values_list("user_id", flat=True), row.owner_id} - {None})


class SkillChanged(Listed):
    type: ClassVar[str] = "skill.changed"
    key: ClassVar[str] = "skill_id"
    skill_id: uuid.UUID
    name: str
    description: str
    created_at: Moment
    updated_at: Moment


class WorkspaceChanged(Listed):
    type: ClassVar[str] = "workspace.changed"
    key: ClassVar[str] = "workspace_id"
    workspace_id: uuid.UUID
    agent_id: uuid.UUID
    user_id: uuid.UUID | None
    name: str
    source: str
    is_persistent: bool
    sandbox_state: str
    turn_count: int
    created_at: Moment
    last_active_at: Moment
    archived_at: Moment | None


class TaskChanged(Listed):
    type: ClassVar[str] = "task.changed"
    key: ClassVar[str] = "task_id"
    parents: ClassVar[dict[str, str]] = {"workspace_id": "workspace.changed"}
    task_id: uuid.UUID
    workspace_id: uuid.UUID
    agent_id: uuid.UUID
    user_id: uuid.UUID | None
    status: str
    mode: str
    source: str
    turn: int
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None


class PlaybookChanged(Listed):
    type: ClassVar[str] = "playbook.changed"
    key: ClassVar[str] = "playbook_id"
    playbook_id: uuid.UUID
    agent_id: uuid.UUID
    user_id: uuid.UUID | None
    name: str
    cron: str
    timezone: str
    run_at: Moment | None
    is_enabled: bool
    keeps_workspace: bool
    workspace_id: uuid.UUID | None
    next_run_at: Moment | None
    created_at: Moment
    updated_at: Moment


class QuestionChanged(Listed):
    type: ClassVar[str] = "question.changed"
    key: ClassVar[str] = "question_id"
    parents: ClassVar[dict[str, str]] = {"workspace_id": "workspace.changed"}
    question_id: uuid.UUID
    task_id: uuid.UUID
    workspace_id: uuid.UUID
    agent_id: uuid.UUID
    text: str
    options: list[str]
    asked_of: list[uuid.UUID]
    status: str
    asked_at: Moment
    expires_at: Moment
    answer: str
    option: int | None


class MemberChanged(Listed):
    type: ClassVar[str] = "member.changed"
    key: ClassVar[str] = "user_id"
    sources: ClassVar[dict[str, str]] = {
        "user_id": "user_id",
        "email": "user.email",
        "display_name": "user.display_name",
    }
    user_id: uuid.UUID
    email: str
    display_name: str
    role: str
    created_at: Moment


class TokenChanged(OfPerson):
    """`deleted` is a token that was revoked."""

    type: ClassVar[str] = "token.changed"
    key: ClassVar[str] = "token_id"
    token_id: uuid.UUID
    user_id: uuid.UUID
    name: str
    kind: str
    hint: str
    scopes: list[str]
    agent_ids: list[uuid.UUID] | None
    created_at: Moment
    expires_at: Moment
    rotated_at: Moment | None
    previous_until: Moment | None


class LinkChanged(Listed):
    """A link to a platform; `reason` says why it does not work."""

    type: ClassVar[str] = "link.changed"
    key: ClassVar[str] = "link_id"
    sources: ClassVar[dict[str, str]] = {"reason": "last_error"}
    link_id: uuid.UUID
    kind: str
    name: str
    status: str
    reason: str
    platform_identity: str
    default_agent_id: uuid.UUID | None
    unknown_senders: str
    created_at: Moment


class ChatChanged(Listed):
    """A place on a platform, or a room of ours."""

    type: ClassVar[str] = "chat.changed"
    key: ClassVar[str] = "chat_id"
    parents: ClassVar[dict[str, str]] = {"link_id": "link.changed"}
    chat_id: uuid.UUID
    link_id: uuid.UUID
    platform_chat_id: str
    kind: str
    title: str
    created_at: Moment


class WiringChanged(Listed):
    type: ClassVar[str] = "wiring.changed"
    key: ClassVar[str] = "wiring_id"
    parents: ClassVar[dict[str, str]] = {"chat_id": "chat.changed"}
    wiring_id: uuid.UUID
    chat_id: uuid.UUID
    agent_id: uuid.UUID
    engage: str
    pattern: str
    command: str
    sender_scope: str
    session_mode: str
    priority: int
    is_exclusive: bool
    is_enabled: bool
    created_at: Moment


class DeliveryChanged(Listed):
    """Also in the stream of its task's workspace."""

    type: ClassVar[str] = "delivery.changed"
    key: ClassVar[str] = "delivery_id"
    parents: ClassVar[dict[str, str]] = {"chat_id": "chat.changed"}
    delivery_id: uuid.UUID
    link_id: uuid.UUID
    chat_id: uuid.UUID
    task_id: uuid.UUID | None
    kind: str
    part: int
    status: str
    error: str
    reached: str
    sent_at: Moment | None
    created_at: Moment


class DestinationChanged(Owned):
    type: ClassVar[str] = "destination.changed"
    key: ClassVar[str] = "destination_id"
    parents: ClassVar[dict[str, str]] = {"chat_id": "chat.changed"}
    destination_id: uuid.UUID
    name: str
    description: str
    chat_id: uuid.UUID | None
    thread_id: str
    person_id: uuid.UUID | None
    agent_id: uuid.UUID | None
    agent_ids: list[uuid.UUID]
    created_at: Moment


class SecretChanged(Owned):
    """Never a value."""

    type: ClassVar[str] = "secret.changed"
    key: ClassVar[str] = "secret_id"
    secret_id: uuid.UUID
    name: str
    description: str
    mode: str
    approval: str
    agent_ids: list[uuid.UUID] | None
    version: int
    expires_at: Moment | None
    created_at: Moment
    updated_at: Moment


class IntegrationChanged(Owned):
    """A connected account; `reason` says why it cannot be used."""

    type: ClassVar[str] = "integration.changed"
    key: ClassVar[str] = "integration_id"
    sources: ClassVar[dict[str, str]] = {"reason": "last_error"}
    integration_id: uuid.UUID
    kind: str
    name: str
    identity: str
    status: str
    reason: str
    agent_ids: list[uuid.UUID] | None
    is_enabled: bool
    created_at: Moment
    updated_at: Moment


class McpServerChanged(Owned):
    """A registered MCP server; `reason` says what is the matter with it."""

    type: ClassVar[str] = "mcp_server.changed"
    key: ClassVar[str] = "server_id"
    sources: ClassVar[dict[str, str]] = {"reason": "last_error"}
    server_id: uuid.UUID
    name: str
    transport: str
    url: str
    status: str
    reason: str
    allowed_tools: list[str] | None
    timeout_s: int
    created_at: Moment
    updated_at: Moment


class NoteChanged(OfPerson):
    type: ClassVar[str] = "memory.changed"
    key: ClassVar[str] = "memory_id"
    memory_id: uuid.UUID
    agent_id: uuid.UUID
    name: str
    version: int
    created_at: Moment
    updated_at: Moment


class BudgetChanged(Listed):
    """A budget was set or removed; what is spent of it changes with every call, and is said at certain shares only."""

    type: ClassVar[str] = "budget.changed"
    key: ClassVar[str] = "budget_id"
    budget_id: uuid.UUID
    level: str
    period: str
    subject_id: uuid.UUID | None
    limit_microusd: int
    created_at: Moment
    updated_at: Moment

    @classmethod
    def readers_of(cls, row: Any) -> Sequence[uuid.UUID] | None:
        return (row.subject_id,) if row.level == "person" else None
