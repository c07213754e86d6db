"""Creating and changing agents."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Any, Literal

from django.db.models import Q, QuerySet
from django.utils.text import slugify
from pydantic import BaseModel, ConfigDict, Field

from services.domain.actors import Actor, require
from services.domain.agents.models import DEFAULT_MCP_SERVERS, Agent, AgentVersion, Provider, WhenBusy
from services.domain.agents.queries import is_agent_admin, visible_agents
from services.domain.egress.rules import MAX_RULES, EgressRule
from services.domain.errors import AgentArchived, AgentMissing, Invalid, NameTaken, RoleMissing
from services.domain.events.announcing import announce_change, announce_hidden, hide_earlier
from services.domain.events.listed import AgentChanged
from services.domain.images.ordering import order_image
from services.domain.images.packages import Packages
from services.domain.integrations.names import ACCOUNT_SERVERS
from services.domain.llm.actions import touch_policy
from services.domain.llm.patterns import MAX_PATTERNS, ModelPattern
from services.domain.llm.policy import refuse_agents_model
from services.domain.skills.models import Skill
from services.domain.tasks.output import refuse_schema
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.queries import list_upstream_names
from services.domain.vault.rights import refuse_strangers
from services.kit.clock import now

OWNERS_FIELDS = ("is_shared", "reads_all_memories", "installs_packages")


class AgentFields(BaseModel):
    """What a person may set on an agent."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=80)
    slug: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9-]{0,59}$")
    description: str = Field(default="", max_length=300)
    provider: Provider = Provider.SHELL
    model: str = Field(default="", max_length=100)
    effort: Literal["", "low", "medium", "high", "max"] = ""
    allowed_models: list[ModelPattern] | None = Field(default=None, max_length=MAX_PATTERNS)
    instructions: str = Field(default="", max_length=100_000)
    tools: list[str] | None = Field(default=None, max_length=200)
    mcp_servers: list[str] = Field(default_factory=lambda: list(DEFAULT_MCP_SERVERS), max_length=20)
    max_turns: int | None = Field(default=None, ge=1, le=10_000)
    timeout_s: int = Field(default=900, ge=1, le=86_400)
    max_budget_microusd: int | None = Field(default=None, ge=0, le=10**12)
    memory_mb: int = Field(default=1024, ge=64, le=65_536)
    cpus: float = Field(default=1.0, gt=0, le=64)
    disk_mb: int = Field(default=2048, ge=64, le=1_048_576)
    pids: int = Field(default=256, ge=32, le=32_768)
    runtime: str = Field(default="", pattern=r"^[a-zA-Z0-9._-]{0,60}$")
    idle_pause_s: int = Field(default=120, ge=0, le=604_800)
    idle_stop_s: int = Field(default=600, ge=0, le=604_800)
    egress: list[EgressRule] = Field(default_factory=list, max_length=MAX_RULES)
    archive_after_s: int | None = Field(default=2_592_000, ge=60, le=315_360_000)
    packages: Packages = Field(default_factory=Packages)
    skills: list[str] = Field(
        default_factory=list, max_length=20, description="Names of skills that it finds in its workspace."
    )
    output_schema: dict[str, Any] | None = Field(
        default=None, description="A JSON Schema (2020-12) of its answers; a task may have its own."
    )
    is_shared: bool = True
    reads_all_memories: bool = False
    installs_packages: bool = False
    when_busy: WhenBusy = Field(
        default=WhenBusy.STEER, description="What a message in a chat does while an earlier one is worked on."
    )

    def checked(self, known_servers: Collection[str]) -> dict[str, Any]:
        """Return the row's values, in the tenant's transaction.

        Raises: Invalid for an MCP server or a skill that is not known, and a schema that is none.
        """
        unknown = [name for name in self.mcp_servers if name not in known_servers]
        if unknown:
            raise Invalid("Unknown MCP servers.", fields={"mcp_servers": f"unknown: {', '.join(unknown)}"})
        missing = sorted(
            set(self.skills) - set(Skill.objects.filter(name__in=self.skills).values_list("name", flat=True))
        )
        if missing:
            raise Invalid("Unknown skills.", fields={"skills": f"unknown: {', '.join(missing)}"})
        refuse_schema(self.output_schema)
        values = self.model_dump()
        values["slug"] = self.slug or slugify(self.name).replace("_", "-")[:60] or "agent"
        return values


def create_agent(actor: Actor, fields: AgentFields) -> Agent:
    """Create an agent. Emits: AgentChanged, and what `order_image` does when it has packages, which also queues.

    Raises: NameTaken, Invalid, ModelNotAllowed.
    """
    require(actor, "agents:write")
    with tenant_transaction(actor.org_id):
        values = fields.checked(_known_servers(actor))
        refuse_agents_model(values)
        if values["allowed_models"] is not None:
            touch_policy(actor)
        _refuse_taken_slug(values["slug"], Agent.objects.all())
        agent = Agent.objects.create(org_id=actor.org_id, owner_id=actor.user_id, **values)
        keep_version(agent, made_by=actor.user_id)
        order_image(agent)
        announce_change(AgentChanged, agent, "created")
        return agent


def update_agent(
    actor: Actor, agent_id: uuid.UUID, changes: dict[str, Any], *, restores: int | None = None
) -> Agent:
    """Change some fields, which makes a new version; turns at work keep what they started with. Emits: AgentChanged.

    Raises: AgentMissing, Invalid, NameTaken, ModelNotAllowed for a model that was not there before.
    Other packages, or another provider under them, are built into an image: emits and queues what `order_image` does.
    Who sees it, and what it may do without asking, change its owner, its admins and the organisation's.
    Raises: AgentMissing, Invalid, NameTaken, RoleMissing, NotPermitted for one with somebody else's personal secret.
    """
    require(actor, "agents:write")
    with tenant_transaction(actor.org_id):
        agent = lock_own_agent(actor, agent_id)
        refuse_strangers(actor, agent)
        current = {name: getattr(agent, name) for name in AgentFields.model_fields}
        # What it has already stays, also a personal server of somebody else.
        known = _known_servers(actor) | set(agent.mcp_servers)
        values = AgentFields.model_validate(current | changes).checked(known)
        if not is_agent_admin(actor, agent):
            _refuse_owners_fields(agent, values)
        if any(values[name] != getattr(agent, name) for name in ("model", "provider", "allowed_models")):
            refuse_agents_model(values)
        if values["allowed_models"] != agent.allowed_models:
            touch_policy(actor)
        _refuse_taken_slug(values["slug"], Agent.objects.exclude(id=agent.id))
        has_other_provider = values["provider"] != agent.provider
        has_other_packages = values["packages"] != Packages.model_validate(agent.packages).model_dump()
        is_hidden = agent.is_shared and not values["is_shared"]
        if is_hidden:
            announce_hidden(AgentChanged, agent)
        is_other = values_of(agent) != AgentFields.model_validate(values).model_dump(mode="json")
        for name, value in values.items():
            setattr(agent, name, value)
        if has_other_provider:
            agent.image = ""  # it lacks the provider
        agent.updated_at = now()
        if is_other:
            agent.version += 1
            keep_version(agent, made_by=actor.user_id, restores=restores)
        agent.save()
        if has_other_provider or has_other_packages:
            order_image(agent)
        if is_hidden:
            hide_earlier(AgentChanged, agent)
        announce_change(AgentChanged, agent)
        return agent


def archive_agent(actor: Actor, agent_id: uuid.UUID) -> None:
    """Take an agent out of use; its workspaces stay readable. Archiving twice is fine.

    Emits: AgentChanged. Raises: AgentMissing.
    """
    require(actor, "agents:write")
    with tenant_transaction(actor.org_id):
        agent = lock_own_agent(actor, agent_id)
        if agent.archived_at is None:
            agent.archived_at = now()
            agent.slug = f"{agent.slug[:40]}-{agent.id.hex[-12:]}"
            agent.save()
            announce_change(AgentChanged, agent)


def restore_agent(actor: Actor, agent_id: uuid.UUID) -> Agent:
    """Take an archived agent into use again, under its name if that is free. Emits: AgentChanged.

    Raises: AgentMissing, NameTaken.
    """
    require(actor, "agents:write")
    with tenant_transaction(actor.org_id):
        agent = lock_own_agent(actor, agent_id)
        if agent.archived_at is not None:
            slug = agent.slug.removesuffix(f"-{agent.id.hex[-12:]}")
            _refuse_taken_slug(slug, Agent.objects.exclude(id=agent.id))
            agent.archived_at, agent.slug = None, slug
            agent.save()
            announce_change(AgentChanged, agent)
        return agent


def values_of(agent: Agent) -> dict[str, Any]:
    """Return all that a person may set on an agent, as it is, in JSON."""
    fields = AgentFields.model_validate({name: getattr(agent, name) for name in AgentFields.model_fields})
    return fields.model_dump(mode="json")


def keep_version(agent: Agent, *, made_by: uuid.UUID | None, restores: int | None = None) -> None:
    """Keep what an agent is set to as its version. In the tenant's transaction."""
    AgentVersion.objects.create(
        org_id=agent.org_id,
        agent=agent,
        number=agent.version,
        values=values_of(agent),
        restores=restores,
        made_by_id=made_by,
    )


def lock_agent(agent_id: uuid.UUID) -> Agent:
    """Return the agent, locked, whosever it is. Raises: AgentMissing."""
    return _lock(Q(id=agent_id))


def lock_own_agent(actor: Actor, agent_id: uuid.UUID) -> Agent:
    """Return an agent that the actor sees, locked. Raises: AgentMissing."""
    return _lock(visible_agents(actor) & Q(id=agent_id))


def get_usable_agent(actor: Actor, agent_id: uuid.UUID) -> Agent:
    """Return an agent to which the actor may give work. Raises: AgentMissing, AgentArchived."""
    agent = Agent.objects.filter(visible_agents(actor), id=agent_id).first()
    if agent is None:
        raise AgentMissing("There is no such agent.")
    if agent.archived_at is not None:
        raise AgentArchived("The agent is archived.")
    return agent


def _lock(which: Q) -> Agent:
    agent = Agent.objects.select_for_update().filter(which).first()
    if agent is None:
        raise AgentMissing("There is no such agent.")
    return agent


def _refuse_owners_fields(agent: Agent, values: dict[str, Any]) -> None:
    if any(values[name] != getattr(agent, name) for name in OWNERS_FIELDS):
        raise RoleMissing("The agent's owner, its admins and the organisation's decide this.", role="admin")


def _known_servers(actor: Actor) -> set[str]:
    return {*DEFAULT_MCP_SERVERS, *ACCOUNT_SERVERS, *list_upstream_names(actor.user_id)}


def _refuse_taken_slug(slug: str, others: QuerySet[Agent]) -> None:
    if others.filter(slug=slug).exists():
        raise NameTaken("An agent with this name exists.", fields={"slug": "taken"})
