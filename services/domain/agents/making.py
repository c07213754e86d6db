"""Agents that agents make: never with more rights than their maker, not too many, for the same person."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import Q
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.domain.actors import Actor, require
from services.domain.agents.actions import AgentFields, keep_version, lock_agent
from services.domain.agents.limits import exceeding
from services.domain.agents.models import Agent
from services.domain.egress.rules import EgressRule, parse_rule
from services.domain.errors import Invalid, Limited, NotPermitted
from services.domain.events.announcing import announce_change
from services.domain.events.listed import AgentChanged
from services.domain.images.ordering import order_image
from services.domain.llm.policy import refuse_agents_model
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction

MAX_MADE = 20
_INHERITED = (
    "provider", "effort", "allowed_models", "max_turns", "memory_mb", "cpus", "disk_mb", "pids", "runtime",
    "idle_pause_s", "idle_stop_s", "archive_after_s", "packages", "skills",
)  # fmt: skip


class MadeAgentFields(BaseModel):
    """What an agent may set on one that it makes. What is None is as its own is. `egress` as people type it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=80)
    description: str = Field(default="", max_length=300)
    instructions: str = Field(default="", max_length=100_000)
    model: str | None = Field(default=None, max_length=100)
    mcp_servers: list[str] | None = None
    tools: list[str] | None = None
    egress: list[str] | None = None
    timeout_s: int | None = None
    max_budget_microusd: int | None = None


def make_agent(actor: Actor, fields: MadeAgentFields) -> Agent:
    """Make an agent of the actor's own kind, for the person that it works for, seen by nobody else.

    Locks: the maker, and all that agents make for the person. Emits and queues what `order_image` does.
    Raises: NotPermitted for anybody but an agent, and for more rights than it has; Invalid, Limited, ModelNotAllowed.
    """
    require(actor, "tasks:write")
    if actor.kind != "agent" or actor.agent_id is None:
        raise NotPermitted("An agent at work makes agents so. People create them.")
    with tenant_transaction(actor.org_id):
        maker = lock_agent(actor.agent_id)
        _refuse_many(actor)
        values = _values(maker, fields, cap=_cap_of(actor, maker))
        refuse_agents_model(values)
        agent = Agent(org_id=actor.org_id, owner_id=actor.user_id, made_by_id=maker.id, **values)
        # Two people's agents may have one name, and neither is to learn of the other's.
        agent.slug = f"{agent.slug[:46]}-{agent.id.hex[-12:]}"
        more = exceeding(agent, maker)
        if more:
            raise NotPermitted(f"An agent that you make may not do more than you: {', '.join(more)}.")
        agent.save(force_insert=True)
        keep_version(agent, made_by=actor.user_id)
        order_image(agent)
        announce_change(AgentChanged, agent, "created")
        return agent


def _values(maker: Agent, fields: MadeAgentFields, *, cap: int | None) -> dict[str, Any]:
    """Return a new agent's values: its maker's own, but for what is set."""
    given = fields.model_dump(exclude_none=True, exclude={"egress"})
    values = {name: getattr(maker, name) for name in _INHERITED}
    values |= {
        name: getattr(maker, name) for name in ("model", "tools", "mcp_servers", "egress", "timeout_s")
    }
    values |= given | {"is_shared": False, "max_budget_microusd": given.get("max_budget_microusd", cap)}
    if cap is not None and values["max_budget_microusd"] > cap:
        raise NotPermitted(f"Its budget can be at most your own, {cap} micro-dollars.")
    if fields.egress is not None:
        values["egress"] = [rule.model_dump() for rule in _read_egress(fields.egress)]
    try:
        return AgentFields.model_validate(values).checked(set(maker.mcp_servers))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Invalid("The agent cannot be made so.", fields={where: str(first["msg"])}) from error


def _read_egress(lines: list[str]) -> list[EgressRule]:
    try:
        return [parse_rule(line) for line in lines]
    except ValueError as error:
        raise Invalid(
            "A host cannot be read.", fields={"egress": "as in api.github.com or example.com:80 GET,HEAD"}
        ) from error


def _cap_of(actor: Actor, maker: Agent) -> int | None:
    """Return the tighter of what the maker and its task may spend."""
    own = Task.objects.filter(Q(id=actor.task_id)).values_list("max_budget_microusd", flat=True).first()
    caps = [cap for cap in (own, maker.max_budget_microusd) if cap is not None]
    return min(caps) if caps else None


def _refuse_many(actor: Actor) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
            [f"agents/{actor.org_id}/{actor.user_id}"],
        )
    made = Agent.objects.filter(Q(owner_id=actor.user_id), archived_at=None).exclude(made_by=None)
    if made.count() >= MAX_MADE:
        raise Limited(
            f"There are {MAX_MADE} agents that agents made. Use one of them: agent_list shows them.",
            limit=MAX_MADE,
        )
