"""Whose a secret is, who may change it, and to which agents it may be granted."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from django.db.models import Q

from services.domain.actors import Actor, require
from services.domain.agents.models import Agent
from services.domain.agents.queries import ADMINS, visible_agents
from services.domain.errors import AgentMissing, AgentNotOwned, Missing, NotPermitted
from services.domain.vault.models import Secret


def visible_to(actor: Actor) -> Q:
    """Return which secrets an actor may know of: the organisation's, one's own, and for admins everybody's."""
    if actor.role in ADMINS:
        return Q()
    shared = Q(owner=None)
    return shared if actor.user_id is None else shared | Q(owner_id=actor.user_id)


def is_own(actor: Actor, secret: Secret) -> bool:
    """Say whether the secret is the actor's own."""
    return secret.owner_id is not None and secret.owner_id == actor.user_id


def lock_own_secret(actor: Actor, secret_id: uuid.UUID) -> Secret:
    """Return a secret that the actor may change, locked: one's own, or for an admin the organisation's.

    Raises: Missing, RoleMissing, ScopeMissing, NotPermitted for an agent, and for an admin at somebody's own.
    """
    secret = lock_visible_secret(actor, secret_id)
    if is_own(actor, secret):
        return secret
    require(actor, "secrets:write", role="admin")
    if secret.owner_id is not None:
        raise NotPermitted("Only its owner changes a personal secret; an admin may delete it.")
    return secret


def lock_visible_secret(actor: Actor, secret_id: uuid.UUID) -> Secret:
    """Return a secret that the actor may know of, locked. Raises: Missing, RoleMissing, ScopeMissing."""
    refuse_agents(actor)
    require(actor, "secrets:write", role="member")
    secret = Secret.objects.select_for_update(of=("self",)).filter(visible_to(actor), id=secret_id).first()
    if secret is None:
        raise Missing("There is no such secret.")
    return secret


def refuse_agents(actor: Actor) -> None:
    """Refuse an agent: it could grant itself what a person did not. Raises: NotPermitted."""
    if actor.kind == "agent":
        raise NotPermitted("A person keeps the secrets.")


def check_grants(actor: Actor, owner_id: uuid.UUID | None, agent_ids: Collection[uuid.UUID] | None) -> None:
    """Refuse agents that the actor does not see, or for a personal secret somebody else's. In the tenant's transaction.

    Whoever writes an agent's instructions decides what it does with what it holds: a personal secret goes only to
    agents that its owner has made. Raises: AgentMissing, AgentNotOwned.
    """
    if not agent_ids:
        return
    wanted = set(agent_ids)
    owners = dict(Agent.objects.filter(visible_agents(actor), id__in=wanted).values_list("id", "owner_id"))
    if len(owners) != len(wanted):
        raise AgentMissing("There is no such agent.")
    if owner_id is not None and any(owner != owner_id for owner in owners.values()):
        raise AgentNotOwned("A personal secret is granted to agents of one's own only.")


def refuse_strangers(actor: Actor, agent: Agent) -> None:
    """Refuse to change an agent that holds somebody else's personal secret. In the tenant's transaction.

    Its instructions and its list of hosts say what becomes of what it holds. Raises: NotPermitted.
    """
    if actor.kind == "system":
        return
    held = Q(agent_ids__contains=[agent.id])
    if agent.owner_id is not None and agent.made_by_id is None:
        held |= Q(agent_ids=None, owner_id=agent.owner_id)
    personal = Secret.objects.filter(held).exclude(owner=None)
    if actor.kind != "agent":
        personal = personal.exclude(owner_id=actor.user_id)
    if personal.exists():
        raise NotPermitted("This agent holds somebody's personal secret: only that person changes it.")
