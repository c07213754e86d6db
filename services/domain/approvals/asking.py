"""What an agent at work asks for itself: packages, and MCP servers for its person."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from services.domain.actors import Actor
from services.domain.agents.actions import lock_agent
from services.domain.agents.models import Agent
from services.domain.approvals.actions import Question, request_approval
from services.domain.approvals.models import ApprovalStatus
from services.domain.approvals.rules import Terms
from services.domain.approvals.subjects import MCP_SERVER, PACKAGES, McpServerSubject, PackagesSubject
from services.domain.errors import Invalid, Limited, NameTaken, NotPermitted
from services.domain.events.announcing import announce_change
from services.domain.events.listed import AgentChanged
from services.domain.images.ordering import order_image
from services.domain.images.packages import Packages, packages_of
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.actions import NewUpstream
from services.domain.upstreams.names import is_reserved
from services.domain.upstreams.queries import find_usable_upstream
from services.kit.clock import now

AskedState = Literal["there", "granted", "waiting", "denied"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of a wish: it is there already, granted at once, waits for a person, or was denied."""

    state: AskedState
    approval_id: uuid.UUID | None = None


def ask_for_packages(actor: Actor, packages: Packages, reason: str) -> Asked:
    """Add packages to the agent at work where its owner lets it, or ask a person to.

    Locks: the agent. Emits and queues what `order_image` or `request_approval` does. Raises: NotPermitted, Invalid,
    Limited.
    """
    if packages.is_empty:
        raise Invalid("No package is named.", fields={"apt, pip, npm": "name at least one"})
    with tenant_transaction(actor.org_id):
        agent = _lock_own(actor)
        known = packages_of(agent.packages).model_dump()
        wanted = packages.model_dump()
        new = {kind: [entry for entry in names if entry not in known[kind]] for kind, names in wanted.items()}
        if not any(new.values()):
            return Asked("there")
        try:
            merged = Packages.model_validate({kind: [*known[kind], *new[kind]] for kind in new})
        except ValidationError as error:
            raise Invalid("An agent has at most 100 packages.", fields={"packages": "too many"}) from error
        if agent.installs_packages:
            agent.packages, agent.updated_at = merged.model_dump(), now()
            agent.save(update_fields=["packages", "updated_at"])
            announce_change(AgentChanged, agent)
            order_image(agent)
            return Asked("granted")
        subject = PackagesSubject(packages=Packages.model_validate(new), reason=reason)
        return _ask(_question(actor, PACKAGES, subject.stored(), identity=new))


def ask_for_server(actor: Actor, name: str, url: str, reason: str) -> Asked:
    """Ask the person whom the agent works for to register an MCP server for their own work.

    Without a person the organisation's admins are asked, to register it for everybody.
    Emits and queues what `request_approval` does. Raises: NotPermitted, Invalid, NameTaken, Limited.
    """
    if is_reserved(name):
        raise NameTaken("The name is taken by a server of the platform.", fields={"name": "reserved"})
    is_personal = actor.user_id is not None
    NewUpstream(name=name, url=url, is_personal=is_personal).checked()
    with tenant_transaction(actor.org_id):
        agent = _lock_own(actor)
        usable = find_usable_upstream(actor.user_id, name)
        if usable is not None and name in agent.mcp_servers:
            return Asked("there")
        subject = McpServerSubject(name=name, url=url, is_personal=is_personal, reason=reason)
        deciders = Terms(decider_ids=(actor.user_id,)) if actor.user_id is not None else None
        identity = {"name": name, "url": url, "for": str(actor.user_id)}
        return _ask(_question(actor, MCP_SERVER, subject.stored(), identity=identity, terms=deciders))


def _lock_own(actor: Actor) -> Agent:
    if actor.kind != "agent" or actor.agent_id is None:
        raise NotPermitted("An agent at work asks so. People do it themselves.")
    return lock_agent(actor.agent_id)


def _question(
    actor: Actor,
    kind: str,
    subject: dict[str, Any],
    *,
    identity: dict[str, Any],
    terms: Terms | None = None,
) -> Question:
    return Question(
        org_id=actor.org_id,
        kind=kind,
        subject=subject,
        workspace_id=actor.workspace_id,
        agent_id=actor.agent_id,
        task_id=actor.task_id,
        identity=identity,
        terms=terms,
    )


def _ask(question: Question) -> Asked:
    approval = request_approval(question)
    if approval is None:
        raise Limited("Too many questions wait for an answer already.")
    is_denied = approval.status == ApprovalStatus.DENIED
    return Asked("denied" if is_denied else "waiting", approval.id)
