"""The uses of a credential as its page shows them: `dashboard/parts/accesses.html`."""

from __future__ import annotations

from django.db.models import QuerySet

from services.domain.actors import Actor
from services.domain.agents.queries import list_agents_by_name
from services.domain.vault.models import CredentialAccess

MAX_SHOWN = 50


def newest_accesses(
    actor: Actor, accesses: QuerySet[CredentialAccess]
) -> list[tuple[CredentialAccess, str | None]]:
    """Return the newest uses, each with its agent's name if the actor sees the agent; in the tenant's transaction."""
    names = {agent.id: agent.name for agent in list_agents_by_name(actor)}
    newest = accesses.order_by("-id")[:MAX_SHOWN]
    return [(access, names.get(access.agent_id) if access.agent_id else None) for access in newest]
