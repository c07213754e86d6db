"""Reading agents."""

from __future__ import annotations

import uuid

from django.db.models import Q, QuerySet

from services.domain.actors import Actor, require
from services.domain.agents.models import Agent
from services.domain.errors import AgentMissing

ADMINS = ("owner", "admin")


def visible_agents(actor: Actor) -> Q:
    """Return which agents exist for an actor: those that are shared, and one's own; all for admins and the platform.

    An agent sees those of the person that it works for; without a person, those that its own kind made.
    """
    if actor.kind == "system" or (actor.kind != "agent" and actor.role in ADMINS):
        return Q()
    shared = Q(is_shared=True)
    if actor.user_id is not None:
        return shared | Q(owner_id=actor.user_id)
    return shared | Q(owner=None, made_by_id=actor.agent_id) if actor.agent_id is not None else shared


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
