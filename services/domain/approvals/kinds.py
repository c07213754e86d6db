"""The kinds of things that are asked for: what a question is about, in one line, and what a lasting yes changes."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from services.domain.actors import Actor
from services.domain.agents.actions import lock_agent, update_agent
from services.domain.approvals.models import Approval
from services.domain.egress.rules import EgressRule, show_rule
from services.domain.upstreams.review import accept_tools
from services.domain.upstreams.telling import MCP_TOOLS

EGRESS = "egress"


class EgressSubject(BaseModel):
    """A host that an agent was refused; with `methods`, the method that its list lacks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    port: int
    methods: list[str] | None = None

    @property
    def rule(self) -> EgressRule:
        """Return the entry that would have let it through."""
        return EgressRule(host=self.host, port=self.port, methods=self.methods)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. `is_changeable` says that a decision may be replaced by another one later."""

    name: str
    question: str
    show: Callable[[dict[str, Any]], str]
    grant_always: Callable[[Actor, Approval], None]
    is_changeable: bool
    grant_once: Callable[[Actor, Approval], None] = lambda actor, approval: None


def _show_egress(subject: dict[str, Any]) -> str:
    return show_rule(EgressSubject.model_validate(subject).rule)


def _add_to_allowlist(actor: Actor, approval: Approval) -> None:
    """Add the host to the agent's allowlist, in the caller's transaction. Raises: Invalid when the list is full."""
    if approval.agent_id is None:
        return
    rule = EgressSubject.model_validate(approval.subject).rule.model_dump()
    known = lock_agent(approval.agent_id).egress
    if rule not in known:
        update_agent(actor, approval.agent_id, {"egress": [*known, rule]})


def _show_tools(subject: dict[str, Any]) -> str:
    return f"{subject['server']}: {', '.join(subject['tools'])}"


def _accept_tools(actor: Actor, approval: Approval) -> None:
    """Accept the tools that the question was about, in the caller's transaction. Raises: ToolsChangedAgain."""
    accept_tools(actor, uuid.UUID(approval.subject["server_id"]), approval.subject["digest"])


KINDS: dict[str, Kind] = {
    EGRESS: Kind(EGRESS, "wants to reach", _show_egress, _add_to_allowlist, is_changeable=True),
    MCP_TOOLS: Kind(
        MCP_TOOLS,
        "waits for a review of",
        _show_tools,
        _accept_tools,
        is_changeable=False,
        grant_once=_accept_tools,
    ),
}
