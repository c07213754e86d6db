"""Who acts: every action's first argument, and what that actor may do."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Literal

from services.domain.errors import RoleMissing, ScopeMissing

SCOPES = frozenset(
    f"{resource}:{verb}"
    for resource in (
        "tasks",
        "workspaces",
        "agents",
        "playbooks",
        "secrets",
        "chats",
        "tokens",
        "members",
        "memory",
        "files",
        "commands",
        "mcp_servers",
        "models",
        "budgets",
        "integrations",
        "webhooks",
    )
    for verb in ("read", "write")
) | {"usage:read", "terminals:write", "audit:read"}
# What a token may do that names agents: all of it is of one agent, so that nothing of another can be met.
OF_ONE_AGENT = frozenset(
    {
        "agents:read",
        "tasks:read",
        "tasks:write",
        "workspaces:read",
        "workspaces:write",
        "files:read",
        "files:write",
        "commands:read",
        "commands:write",
    }
)
# A program with such a token may use one MCP server of the gateway, or read there. Never given without being asked for.
_MCP_SCOPE = re.compile(r"mcp:([a-z0-9][a-z0-9_-]{0,29}|upstream/[a-z0-9][a-z0-9_-]{0,39})(:read)?")
_RANK = {"viewer": 0, "member": 1, "admin": 2, "owner": 3}


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody or something that acts in one organisation.

    `scopes` None means all that the role allows, `agent_ids` None all agents; an API token narrows both. An agent at
    work has a task, in a workspace.
    """

    org_id: uuid.UUID
    kind: Literal["user", "token", "agent", "system"]
    role: str = "member"
    user_id: uuid.UUID | None = None
    scopes: frozenset[str] | None = None
    token_id: uuid.UUID | None = None
    task_id: uuid.UUID | None = None
    agent_id: uuid.UUID | None = None
    workspace_id: uuid.UUID | None = None
    agent_ids: frozenset[uuid.UUID] | None = None

    @property
    def key(self) -> str:
        """Return a text that names this actor within its organisation, for idempotency keys."""
        return f"{self.kind}:{self.token_id or self.task_id or self.user_id or 'system'}"


def system_actor(org_id: uuid.UUID) -> Actor:
    """Return the platform itself, acting in one organisation."""
    return Actor(org_id=org_id, kind="system", role="owner")


def is_scope(text: str) -> bool:
    """Say whether an API token can carry a scope of this name."""
    return text in SCOPES or _MCP_SCOPE.fullmatch(text) is not None


def may(actor: Actor, scope: str) -> bool:
    """Say whether the actor holds a scope. Viewers hold none that writes."""
    if actor.scopes is not None and scope not in actor.scopes and "*" not in actor.scopes:
        return False
    return scope.endswith(":read") or _RANK[actor.role] >= _RANK["member"]


def require(actor: Actor, scope: str, *, role: str = "viewer") -> None:
    """Refuse an actor without the scope or below the role. Raises: ScopeMissing, RoleMissing."""
    if not may(actor, scope):
        raise ScopeMissing(f"This needs the scope {scope}.", scope=scope)
    if _RANK[actor.role] < _RANK[role]:
        raise RoleMissing(f"This needs the role {role}.", role=role)
