"""Agents over REST."""

from __future__ import annotations

import uuid
from typing import Any, Self

from pydantic import Field

from services.api.http.bodies import Closed
from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of, page_of_list
from services.api.http.shapes import Changes, Moment, Page, Shape, to_usd
from services.domain.agents.actions import AgentFields, archive_agent, create_agent, update_agent
from services.domain.agents.models import Agent, AgentPerson, AgentRole, Provider, WhenBusy
from services.domain.agents.people import (
    get_agent_person,
    list_agent_people,
    put_agent_person,
    remove_agent_person,
)
from services.domain.agents.queries import get_agent, list_agents
from services.domain.agents.templates import get_agent_template
from services.domain.egress.rules import EgressRule
from services.domain.errors import (
    AgentMissing,
    AgentTemplateMissing,
    Invalid,
    Missing,
    ModelNotAllowed,
    NameTaken,
    RoleMissing,
)
from services.domain.images.packages import Packages


class AgentBody(AgentFields):
    """A new agent. What is not sent is as the template says, else as it is for all."""

    template: str | None = Field(
        default=None, max_length=60, description="The slug of one of `agent_templates`."
    )

    def fields(self) -> AgentFields:
        """Return what the domain takes. Raises: AgentTemplateMissing."""
        given = self.model_dump(exclude_unset=True, exclude={"template"})
        preset = get_agent_template(self.template).fields if self.template is not None else {}
        return AgentFields.model_validate(preset | given)


class AgentChanges(AgentFields, Changes):
    """The fields to change; those that are not sent stay as they are."""

    name: str = Field(default="", min_length=1, max_length=80)


class AgentShape(Shape):
    """An agent. Turns that are at work keep what they started with when it is changed."""

    id: uuid.UUID
    name: str
    slug: str
    description: str
    provider: Provider
    model: str
    effort: str
    allowed_models: list[str] | None
    instructions: str
    tools: list[str] | None
    mcp_servers: list[str]
    max_turns: int | None
    timeout_s: int
    max_budget_microusd: int | None
    max_budget_usd: str | None
    memory_mb: int
    cpus: float
    disk_mb: int
    pids: int
    runtime: str
    idle_pause_s: int
    idle_stop_s: int
    archive_after_s: int | None
    packages: Packages
    image: str
    skills: list[str]
    output_schema: dict[str, Any] | None
    egress: list[EgressRule]
    owner_id: uuid.UUID | None
    made_by_agent_id: uuid.UUID | None
    is_shared: bool
    reads_all_memories: bool
    installs_packages: bool
    when_busy: WhenBusy
    created_at: Moment
    updated_at: Moment
    version: int
    archived_at: Moment | None

    @classmethod
    def of(cls, agent: Agent) -> Self:
        """Show a row."""
        others = ("max_budget_usd", "made_by_agent_id")
        same = {name: getattr(agent, name) for name in cls.model_fields if name not in others}
        return cls(
            **same, made_by_agent_id=agent.made_by_id, max_budget_usd=to_usd(agent.max_budget_microusd)
        )


class AgentRoleBody(Closed):
    """A person's role with an agent."""

    role: AgentRole


class AgentPersonShape(Shape):
    """A person's role with an agent. member: may use it though it is not shared; admin: changes it as its owner."""

    user_id: uuid.UUID
    email: str
    display_name: str
    role: AgentRole
    created_at: Moment

    @classmethod
    def of(cls, row: AgentPerson) -> Self:
        """Show a row and its account."""
        return cls(
            user_id=row.user_id,
            email=row.user.email,
            display_name=row.user.display_name,
            role=AgentRole(row.role),
            created_at=row.created_at,
        )


class AgentPeople(Endpoint):
    """Who has a role with one agent."""

    tag = "agents"

    @operation(errors=(AgentMissing,))
    def get(self, call: Call, agent_id: uuid.UUID, query: PageQuery) -> Page[AgentPersonShape]:
        """List who has a role with an agent, newest first."""
        return page_of_list(list_agent_people(call.actor, agent_id), query, AgentPersonShape.of)


class OneAgentPerson(Endpoint):
    """One person's role with one agent."""

    tag = "agents"

    @operation(errors=(AgentMissing, Missing))
    def get(self, call: Call, agent_id: uuid.UUID, user_id: uuid.UUID) -> AgentPersonShape:
        """Show a person's role with an agent."""
        return AgentPersonShape.of(get_agent_person(call.actor, agent_id, user_id))

    @operation(errors=(AgentMissing, Missing, RoleMissing))
    def put(
        self, call: Call, agent_id: uuid.UUID, user_id: uuid.UUID, body: AgentRoleBody
    ) -> AgentPersonShape:
        """Give a member a role with an agent, or another one."""
        return AgentPersonShape.of(put_agent_person(call.actor, agent_id, user_id, body.role))

    @operation(errors=(AgentMissing, Missing, RoleMissing))
    def delete(self, call: Call, agent_id: uuid.UUID, user_id: uuid.UUID) -> None:
        """Take a person's role with an agent away."""
        remove_agent_person(call.actor, agent_id, user_id)


class Agents(Endpoint):
    """All agents."""

    tag = "agents"

    @operation()
    def get(self, call: Call, query: PageQuery) -> Page[AgentShape]:
        """List the agents in use, newest first."""
        return page_of(list_agents(call.actor), query, AgentShape.of)

    @operation(status=201, errors=(NameTaken, Invalid, ModelNotAllowed, AgentTemplateMissing))
    def post(self, call: Call, body: AgentBody) -> AgentShape:
        """Create an agent, from a template or from nothing."""
        return AgentShape.of(create_agent(call.actor, body.fields()))


class OneAgent(Endpoint):
    """One agent."""

    tag = "agents"

    @operation(errors=(AgentMissing,))
    def get(self, call: Call, agent_id: uuid.UUID) -> AgentShape:
        """Show an agent, archived or not."""
        return AgentShape.of(get_agent(call.actor, agent_id))

    @operation(errors=(AgentMissing, NameTaken, Invalid, ModelNotAllowed))
    def patch(self, call: Call, agent_id: uuid.UUID, body: AgentChanges) -> AgentShape:
        """Change an agent's fields."""
        return AgentShape.of(update_agent(call.actor, agent_id, body.model_dump(exclude_unset=True)))

    @operation(errors=(AgentMissing,))
    def delete(self, call: Call, agent_id: uuid.UUID) -> None:
        """Archive an agent: it gets no more work, its workspaces stay readable."""
        archive_agent(call.actor, agent_id)
