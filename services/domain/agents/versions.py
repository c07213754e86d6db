"""Versions of an agent: what it was set to, what differs between two, going back; and agents made from agents."""

from __future__ import annotations

import difflib
import uuid
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.utils.text import slugify

from services.domain.actors import Actor, require
from services.domain.agents.actions import AgentFields, create_agent, update_agent, values_of
from services.domain.agents.models import Agent, AgentVersion
from services.domain.agents.queries import get_agent, is_agent_admin
from services.domain.errors import AgentVersionMissing
from services.domain.tenancy.transaction import tenant_transaction

# A version does not bring back an address that somebody else may have by now.
_OF_THE_AGENT = ("slug",)
_OWNERS_GRANTS = ("reads_all_memories", "installs_packages")
_MOST_COPIES = 100


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that two versions set otherwise. `lines` is a unified diff where both are texts of several lines."""

    field: str
    before: Any
    after: Any
    lines: list[str]


def list_agent_versions(actor: Actor, agent_id: uuid.UUID) -> QuerySet[AgentVersion]:
    """Return an agent's versions; in the tenant's transaction. Raises: AgentMissing."""
    return AgentVersion.objects.filter(agent=get_agent(actor, agent_id))


def get_agent_version(actor: Actor, agent_id: uuid.UUID, version_id: uuid.UUID) -> AgentVersion:
    """Return one version; in the tenant's transaction. Raises: AgentMissing, AgentVersionMissing."""
    row = list_agent_versions(actor, agent_id).filter(id=version_id).first()
    if row is None:
        raise AgentVersionMissing("The agent has no such version.")
    return row


def compare_agent_versions(actor: Actor, agent_id: uuid.UUID, before: int, after: int) -> list[Difference]:
    """Return what two versions, by number, set otherwise. Raises: AgentMissing, AgentVersionMissing."""
    versions = list_agent_versions(actor, agent_id)
    older, newer = _values_of_version(versions, before), _values_of_version(versions, after)
    return [
        Difference(name, older.get(name), newer.get(name), _lines(older.get(name), newer.get(name)))
        for name in AgentFields.model_fields
        if older.get(name) != newer.get(name)
    ]


def roll_back_agent(actor: Actor, agent_id: uuid.UUID, number: int) -> Agent:
    """Set an agent to what an earlier version was, which is a new version.

    Raises: AgentMissing, AgentVersionMissing, and what `update_agent` raises where that may not be set any more.
    """
    require(actor, "agents:write")
    with tenant_transaction(actor.org_id):
        values = _values_of_version(list_agent_versions(actor, agent_id), number)
        known = {name: value for name, value in values.items() if name in AgentFields.model_fields}
        changes = {name: value for name, value in known.items() if name not in _OF_THE_AGENT}
        return update_agent(actor, agent_id, changes, restores=number)


def clone_agent(actor: Actor, agent_id: uuid.UUID, *, name: str | None) -> Agent:
    """Make an agent that is set as another one is, archived or not. What was granted to that one stays its own.

    Raises: AgentMissing, NameTaken for a name that was given, and what `create_agent` raises.
    """
    require(actor, "agents:write")
    with tenant_transaction(actor.org_id):
        source = get_agent(actor, agent_id)
        values = values_of(source) | {"slug": None, "name": name or _free_name(source)}
        if not is_agent_admin(actor, source):
            values |= dict.fromkeys(_OWNERS_GRANTS, False)
        return create_agent(actor, AgentFields.model_validate(values))


def _values_of_version(versions: QuerySet[AgentVersion], number: int) -> dict[str, Any]:
    row = versions.filter(number=number).first()
    if row is None:
        raise AgentVersionMissing(f"The agent has no version {number}.")
    # A field that came later was as it is for all.
    return {**_as_for_all(), **row.values}


def _as_for_all() -> dict[str, Any]:
    return AgentFields(name="-").model_dump(mode="json", exclude={"name", "slug"})


def _lines(before: Any, after: Any) -> list[str]:
    if not (isinstance(before, str) and isinstance(after, str) and ("\n" in before or "\n" in after)):
        return []
    return list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2))


def _free_name(source: Agent) -> str:
    names = [f"{source.name[:70]} copy"]
    names += [f"{source.name[:66]} copy {number}" for number in range(2, _MOST_COPIES)]
    slugs = {name: slugify(name).replace("_", "-")[:60] for name in names}
    taken = set(Agent.objects.filter(slug__in=slugs.values()).values_list("slug", flat=True))
    return next((name for name in names if slugs[name] not in taken), names[0])
