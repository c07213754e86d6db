"""Skills over REST."""

from __future__ import annotations

import uuid
from typing import Self

from pydantic import Field

from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Changes, Moment, Page, Shape
from services.domain.errors import Invalid, NameTaken, SkillMissing, StillInUse
from services.domain.skills.actions import (
    MAX_FILES,
    SkillFields,
    create_skill,
    delete_skill,
    get_skill,
    list_skills,
    update_skill,
)
from services.domain.skills.models import Skill


class SkillChanges(Changes):
    """The fields to change. The name stays: agents name a skill by it."""

    description: str = Field(default="", min_length=1, max_length=500)
    body: str = Field(default="", min_length=1, max_length=100_000)
    files: dict[str, str] = Field(default_factory=dict, max_length=MAX_FILES)


class SkillShape(Shape):
    """How to do one kind of work: Markdown, and files beside it. Agents that name it find it in the workspace."""

    id: uuid.UUID
    name: str
    description: str
    body: str
    files: dict[str, str]
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, skill: Skill) -> Self:
        """Show a row."""
        return cls.model_validate(skill)


class SkillQuery(PageQuery):
    """Which skills."""

    name: str | None = Field(default=None, max_length=60)


class Skills(Endpoint):
    """All skills."""

    tag = "skills"

    @operation()
    def get(self, call: Call, query: SkillQuery) -> Page[SkillShape]:
        """List the skills, newest first."""
        return page_of(list_skills(call.actor), query, SkillShape.of)

    @operation(status=201, errors=(NameTaken, Invalid))
    def post(self, call: Call, body: SkillFields) -> SkillShape:
        """Make a skill. An agent has it once its `skills` name it."""
        return SkillShape.of(create_skill(call.actor, body))


class OneSkill(Endpoint):
    """One skill."""

    tag = "skills"

    @operation(errors=(SkillMissing,))
    def get(self, call: Call, skill_id: uuid.UUID) -> SkillShape:
        """Show a skill with its files."""
        return SkillShape.of(get_skill(call.actor, skill_id))

    @operation(errors=(SkillMissing, Invalid))
    def patch(self, call: Call, skill_id: uuid.UUID, body: SkillChanges) -> SkillShape:
        """Change a skill. Turns that begin from now on have it so."""
        return SkillShape.of(update_skill(call.actor, skill_id, body.model_dump(exclude_unset=True)))

    @operation(errors=(SkillMissing, StillInUse))
    def delete(self, call: Call, skill_id: uuid.UUID) -> None:
        """Delete a skill that no agent has."""
        delete_skill(call.actor, skill_id)
