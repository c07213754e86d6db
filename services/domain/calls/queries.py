"""Reading what was called."""

from __future__ import annotations

from django.db.models import QuerySet

from services.domain.actors import Actor, require
from services.domain.agents.queries import of_named_agents
from services.domain.calls.models import McpCall


def list_calls(actor: Actor) -> QuerySet[McpCall]:
    """Return the calls that the actor may see: those of the tasks; to be read in the tenant's transaction."""
    require(actor, "tasks:read")
    return McpCall.objects.filter(of_named_agents(actor))
