"""Reading agents."""

from __future__ import annotations

import uuid

from django.db.models import Q, QuerySet

from services.domain.actors import Actor, require
from services.domain.agents.models import Agent, AgentPerson, AgentRole
from services.domain.errors import AgentMissing

ADMINS = ("owner", "admin")


def visible_agents(actor: Actor) -> Q:
    """Return which agents exist for an actor: those shared with all or with them, and their own; all for admins.

    An agent sees those of the person that it works for; without a person, those that its own kind made. A token that
    names agents sees none but those.
    """
    return of_named_agents(actor, "id") & _visible_by_role(actor)


def of_named_agents(actor: Actor, field: str = "agent_id") -> Q:
    """Return which rows are of the agents that an actor's token names; all rows for who is not narrowed so."""
    return Q(**{f"{field}__in": actor.agent_ids}) if actor.agent_ids is not None else Q()


def _visible_by_role(actor: Actor) -> Q:
    if actor.kind == "system" or (actor.kind != "agent" and actor.role in ADMINS):
        return Q()
    shared = Q(is_shared=True)
    if actor.user_id is not None:
        named = AgentPerson.objects.filter(Q(user_id=actor.user_id))
        return shared | Q(owner_id=actor.user_id) | Q(id__in=named.values("agent_id"))
    return shared | Q(owner=None, made_by_id=actor.agent_id) if actor.agent_id is not None else shared


def is_agent_admin(actor: Actor, agent: Agent) -> bool:
    """Say whether an actor decides about an agent: its owner, its admins, the organisation's. In the transaction."""
    if actor.kind == "agent":
        return False
    if actor.role in ADMINS or (agent.owner_id is not None and agent.owner_id == actor.user_id):
        return True
    named = AgentPerson.objects.filter(Q(user_id=actor.user_id), agent=agent, role=AgentRole.ADMIN)
    return actor.user_id is not None and named.exists()


def list_agents(actor: Actor) -> QuerySet[Agent]:
    """Return the agents in use; to be read in the tenant's transaction."""
    require(actor, "agents:read")
    return Agent.objects.filter(visible_agents(actor), archived_at=None)


def get_agent(actor: Actor, agent_id: uuid.UUID) -> Agent:
    """Return one agent, archived or not. Raises: AgentMissing."""
    require(actor, "agents:read")
    agent = Agent.objects.filter(visible_agents(actor), id=agent_id).first()
    if agent is None:
        raise AgentMissing("There is no such agent.")
    return agent


def list_agents_by_name(actor: Actor) -> list[Agent]:
    """List the agents in use by name, as people look for them; in the tenant's transaction."""
    return sorted(list_agents(actor), key=lambda agent: agent.name.lower())
