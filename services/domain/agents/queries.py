"""Reading agents."""

from __future__ import annotations

import uuid

from django.db.models import QuerySet

from services.domain.actors import Actor, require
from services.domain.agents.models import Agent
from services.domain.errors import AgentMissing


def list_agents(actor: Actor) -> QuerySet[Agent]:
    """Return the agents in use; to be read in the tenant's transaction."""
    require(actor, "agents:read")
    return Agent.objects.filter(archived_at=None)


def get_agent(actor: Actor, agent_id: uuid.UUID) -> Agent:
    """Return one agent, archived or not. Raises: AgentMissing."""
    require(actor, "agents:read")
    agent = Agent.objects.filter(id=agent_id).first()
    if agent is None:
        raise AgentMissing("There is no such agent.")
    return agent


def list_agents_by_name(actor: Actor) -> list[Agent]:
    """List the agents in use by name, as people look for them; in the tenant's transaction."""
    return sorted(list_agents(actor), key=lambda agent: agent.name.lower())
