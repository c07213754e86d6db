"""Versions of agents over REST, and agents made from agents or templates."""

from __future__ import annotations

import uuid
from typing import Any, Self

from pydantic import Field

from services.api.http.bodies import Closed
from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Moment, Page, Shape
from services.api.v1.agents import AgentShape
from services.domain.actors import require
from services.domain.agents.actions import restore_agent
from services.domain.agents.models import AgentVersion
from services.domain.agents.templates import TEMPLATES
from services.domain.agents.versions import (
    clone_agent,
    compare_agent_versions,
    get_agent_version,
    list_agent_versions,
    roll_back_agent,
)
from services.domain.errors import (
    AgentMissing,
    AgentVersionMissing,
    Invalid,
    ModelNotAllowed,
    NameTaken,
    RoleMissing,
)


class AgentVersionShape(Shape):
    """What an agent was set to: `fields` as they would be sent. `restores`: it went back to that version."""

    id: uuid.UUID
    number: int
    fields: dict[str, Any]
    restores: int | None
    made_by_user_id: uuid.UUID | None
    created_at: Moment

    @classmethod
    def of(cls, row: AgentVersion) -> Self:
        """Show a row."""
        return cls(
            id=row.id,
            number=row.number,
            fields=row.values,
            restores=row.restores,
            made_by_user_id=row.made_by_id,
            created_at=row.created_at,
        )


class AgentVersionQuery(PageQuery):
    """Which versions."""

    number: int | None = Field(default=None, ge=1, le=2**31 - 1)


class AgentVersions(Endpoint):
    """All versions of one agent."""

    tag = "agents"

    @operation(errors=(AgentMissing,))
    def get(self, call: Call, agent_id: uuid.UUID, query: AgentVersionQuery) -> Page[AgentVersionShape]:
        """List an agent's versions, newest first."""
        return page_of(list_agent_versions(call.actor, agent_id), query, AgentVersionShape.of)


class OneAgentVersion(Endpoint):
    """One version of an agent."""

    tag = "agents"

    @operation(errors=(AgentMissing, AgentVersionMissing))
    def get(self, call: Call, agent_id: uuid.UUID, version_id: uuid.UUID) -> AgentVersionShape:
        """Show what an agent was set to."""
        return AgentVersionShape.of(get_agent_version(call.actor, agent_id, version_id))


class DiffQuery(Closed):
    """Which two versions, by number."""

    before: int = Field(ge=1, le=2**31 - 1)
    after: int = Field(ge=1, le=2**31 - 1)


class DifferenceShape(Shape):
    """One field that differs. `lines` is a unified diff where both are texts of several lines."""

    field: str
    before: Any
    after: Any
    lines: list[str]


class DiffShape(Shape):
    """What two versions set otherwise."""

    before: int
    after: int
    changes: list[DifferenceShape]


class AgentDiff(Endpoint):
    """Two versions of an agent, compared."""

    tag = "agents"

    @operation(errors=(AgentMissing, AgentVersionMissing))
    def get(self, call: Call, agent_id: uuid.UUID, query: DiffQuery) -> DiffShape:
        """Show what two versions of an agent set otherwise."""
        found = compare_agent_versions(call.actor, agent_id, query.before, query.after)
        changes = [DifferenceShape.model_validate(difference) for difference in found]
        return DiffShape(before=query.before, after=query.after, changes=changes)


class RollbackBody(Closed):
    """The version to go back to, by number."""

    version: int = Field(ge=1, le=2**31 - 1)


class AgentRollback(Endpoint):
    """Going back to a version."""

    tag = "agents"

    @operation(errors=(AgentMissing, AgentVersionMissing, Invalid, ModelNotAllowed, RoleMissing))
    def post(self, call: Call, agent_id: uuid.UUID, body: RollbackBody) -> AgentShape:
        """Set an agent to what it was. That is a new version, so nothing is lost; its slug stays."""
        return AgentShape.of(roll_back_agent(call.actor, agent_id, body.version))


class CloneBody(Closed):
    """The new agent's name; null is the other one's with "copy"."""

    name: str | None = Field(default=None, min_length=1, max_length=80)


class AgentClone(Endpoint):
    """Copying an agent."""

    tag = "agents"

    @operation(status=201, errors=(AgentMissing, NameTaken, Invalid, ModelNotAllowed))
    def post(self, call: Call, agent_id: uuid.UUID, body: CloneBody) -> AgentShape:
        """Make an agent that is set as this one is. Secrets and accounts that this one was granted stay its own."""
        return AgentShape.of(clone_agent(call.actor, agent_id, name=body.name))


class AgentRestore(Endpoint):
    """Taking an agent out of the archive."""

    tag = "agents"

    @operation(errors=(AgentMissing, NameTaken))
    def post(self, call: Call, agent_id: uuid.UUID) -> AgentShape:
        """Take an archived agent into use again. Asking twice is fine."""
        return AgentShape.of(restore_agent(call.actor, agent_id))


class AgentTemplateShape(Shape):
    """An agent to start from: `POST /agents` with its slug as `template`. `fields` is what it sets."""

    slug: str
    title: str
    description: str
    fields: dict[str, Any]


class AgentTemplatesShape(Shape):
    """All templates."""

    items: list[AgentTemplateShape]


class AgentTemplates(Endpoint):
    """Agents to start from."""

    tag = "agents"

    @operation()
    def get(self, call: Call) -> AgentTemplatesShape:
        """List the templates."""
        require(call.actor, "agents:read")
        return AgentTemplatesShape(items=[AgentTemplateShape.model_validate(one) for one in TEMPLATES])
