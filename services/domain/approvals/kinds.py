"""The kinds of things that are asked for: what a question is about, in one line, and what a yes changes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from services.domain.actors import Actor
from services.domain.agents.actions import lock_agent, update_agent
from services.domain.approvals.grants import Grant, find_grant_of
from services.domain.approvals.models import Approval
from services.domain.approvals.rules import Terms
from services.domain.approvals.subjects import (
    CREDENTIAL,
    EGRESS,
    MCP_SERVER,
    NEW_CHAT,
    PACKAGES,
    TOOL_CALL,
    UNKNOWN_SENDER,
    Choice,
    CredentialSubject,
    EgressSubject,
    McpServerSubject,
    NewChatSubject,
    PackagesSubject,
    Subject,
    ToolCallSubject,
    ToolsSubject,
    UnknownSenderSubject,
)
from services.domain.approvals.tool_calls import allow_call, allow_tool
from services.domain.images.packages import Packages, packages_of
from services.domain.upstreams.actions import NewUpstream, register_upstream
from services.domain.upstreams.review import accept_tools
from services.domain.upstreams.telling import MCP_TOOLS

_USUAL_TERMS = Terms()


def _nothing(actor: Actor, approval: Approval) -> None:
    """Change nothing: the kind's own code reads what was allowed."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. `is_changeable` says that a decision may be replaced by another one later.

    `who` asks where no agent does. Of a kind with `has_choice` a yes chooses one of what its subject offers, or another
    of that sort, and holds from then on.

    `terms` is how it is decided where the question does not say. What is registered in `grants` comes before what
    stands here.
    """

    name: str
    question: str
    subject: type[Subject]
    is_changeable: bool = False
    who: str = "An agent"
    has_choice: bool = False
    terms: Terms = _USUAL_TERMS
    once: Grant = _nothing
    always: Grant = _nothing

    def show(self, subject: dict[str, Any]) -> str:
        """Return a stored subject in one line."""
        return self.subject.model_validate(subject).show()

    def choices_of(self, subject: dict[str, Any]) -> list[Choice]:
        """Return what a yes to a stored subject chooses between."""
        return self.subject.model_validate(subject).choices()

    def grant(self, actor: Actor, approval: Approval, scope: str) -> None:
        """Do what a yes of this reach means, in the caller's transaction."""
        own = self.always if scope == "always" else self.once
        (find_grant_of(self.name, scope) or own)(actor, approval)


def _add_to_allowlist(actor: Actor, approval: Approval) -> None:
    """Add the host to the agent's allowlist, in the caller's transaction. Raises: Invalid when the list is full."""
    if approval.agent_id is None:
        return
    rule = EgressSubject.model_validate(approval.subject).rule.model_dump()
    known = lock_agent(approval.agent_id).egress
    if rule not in known:
        update_agent(actor, approval.agent_id, {"egress": [*known, rule]})


def _accept_tools(actor: Actor, approval: Approval) -> None:
    """Accept the tools that the question was about, in the caller's transaction. Raises: ToolsChangedAgain."""
    accept_tools(actor, uuid.UUID(approval.subject["server_id"]), approval.subject["digest"])


def _add_packages(actor: Actor, approval: Approval) -> None:
    """Add the packages to the agent's, in the caller's transaction; its image is built anew. Raises: Invalid."""
    if approval.agent_id is None:
        return
    wanted = PackagesSubject.model_validate(approval.subject).packages
    known = packages_of(lock_agent(approval.agent_id).packages).model_dump()
    # Another version of a package that is there already is for a person to write into the list.
    merged = {manager: [*known[manager], *entries] for manager, entries in wanted.model_dump().items()}
    update_agent(actor, approval.agent_id, {"packages": Packages.model_validate(merged)})


def _add_server(actor: Actor, approval: Approval) -> None:
    """Register the server and let the agent use it, in the caller's transaction. Its tools wait for a review.

    Raises: Invalid, NameTaken, QueueFull, RoleMissing.
    """
    wanted = McpServerSubject.model_validate(approval.subject)
    register_upstream(actor, NewUpstream(name=wanted.name, url=wanted.url, is_personal=wanted.is_personal))
    if approval.agent_id is not None:
        names = lock_agent(approval.agent_id).mcp_servers
        update_agent(actor, approval.agent_id, {"mcp_servers": [*names, wanted.name]})


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(EGRESS, "wants to reach", EgressSubject, is_changeable=True, always=_add_to_allowlist),
        Kind(MCP_TOOLS, "waits for a review of", ToolsSubject, once=_accept_tools, always=_accept_tools),
        Kind(TOOL_CALL, "wants to call", ToolCallSubject, once=allow_call, always=allow_tool),
        Kind(PACKAGES, "wants to install", PackagesSubject, once=_add_packages, always=_add_packages),
        Kind(
            MCP_SERVER,
            "wants to use the MCP server",
            McpServerSubject,
            terms=Terms(decider_role="admin"),
            once=_add_server,
            always=_add_server,
        ),
        Kind(CREDENTIAL, "wants to use the credential", CredentialSubject, is_changeable=True),
        Kind(
            UNKNOWN_SENDER,
            "does not know",
            UnknownSenderSubject,
            is_changeable=True,
            terms=Terms(decider_role="admin"),
        ),
        Kind(
            NEW_CHAT,
            "has no agent for",
            NewChatSubject,
            is_changeable=True,
            who="A bot",
            has_choice=True,
            terms=Terms(decider_role="admin"),
        ),
    )
}
