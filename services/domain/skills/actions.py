"""Making and changing skills, and what a turn gets of them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import Any, Self

from django.db.models import QuerySet
from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.domain.actors import Actor, require
from services.domain.agents.models import Agent
from services.domain.errors import Limited, NameTaken, SkillMissing, StillInUse
from services.domain.events.announcing import announce_change
from services.domain.events.listed import SkillChanged
from services.domain.skills.models import Skill
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

MAX_SKILLS = 500
MAX_FILES = 30
MAX_FILES_CHARS = 300_000
FOLDER = ".slipway/skills"
_NAME = r"^[a-z0-9][a-z0-9-]{0,59}$"
# Parts without a dot in front: no way out of the folder, and nothing that is hidden in it.
_PATH = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,99}){0,4}$"
_ENTRY = "SKILL.md"


class SkillFields(BaseModel):
    """What a person may set on a skill. At most 300,000 characters of files."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: str = Field(pattern=_NAME, description="Its folder's name, and what agents name it by.")
    description: str = Field(
        min_length=1, max_length=500, description="When to use it, in a sentence or two."
    )
    body: str = Field(min_length=1, max_length=100_000, description="Markdown: how the work is done.")
    files: dict[str, str] = Field(default_factory=dict, max_length=MAX_FILES)

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        for path in self.files:
            if not _is_path(path):
                raise ValueError(
                    f"a file's path is of letters, digits, . _ - and at most 4 slashes, not {_ENTRY}"
                )
        if sum(map(len, self.files.values())) > MAX_FILES_CHARS:
            raise ValueError(f"the files have more than {MAX_FILES_CHARS} characters")
        return self


def list_skills(actor: Actor) -> QuerySet[Skill]:
    """Return the organisation's skills; in the tenant's transaction."""
    require(actor, "agents:read")
    return Skill.objects.all()


def get_skill(actor: Actor, skill_id: uuid.UUID) -> Skill:
    """Return one skill; in the tenant's transaction. Raises: SkillMissing."""
    return _found(list_skills(actor).filter(id=skill_id))


def create_skill(actor: Actor, fields: SkillFields) -> Skill:
    """Make a skill; agents have it once it is named in theirs. Emits: SkillChanged. Raises: NameTaken, Limited."""
    require(actor, "agents:write")
    with tenant_transaction(actor.org_id):
        if Skill.objects.count() >= MAX_SKILLS:
            raise Limited(f"There are {MAX_SKILLS} skills, as many as there may be.", limit=MAX_SKILLS)
        if Skill.objects.filter(name=fields.name).exists():
            raise NameTaken("A skill with this name exists.", fields={"name": "taken"})
        skill = Skill.objects.create(org_id=actor.org_id, **fields.model_dump())
        announce_change(SkillChanged, skill, "created")
        return skill


def update_skill(actor: Actor, skill_id: uuid.UUID, changes: dict[str, Any]) -> Skill:
    """Change a skill; turns that begin from now on have it so. Its name stays: agents name it by that.

    Emits: SkillChanged. Raises: SkillMissing, Invalid.
    """
    require(actor, "agents:write")
    with tenant_transaction(actor.org_id):
        skill = _found(Skill.objects.select_for_update().filter(id=skill_id))
        current = {name: getattr(skill, name) for name in SkillFields.model_fields}
        fields = SkillFields.model_validate(current | changes)
        skill.description, skill.body, skill.files = fields.description, fields.body, fields.files
        skill.updated_at = now()
        skill.save()
        announce_change(SkillChanged, skill)
        return skill


def delete_skill(actor: Actor, skill_id: uuid.UUID) -> None:
    """Delete a skill that no agent has. Emits: SkillChanged. Raises: SkillMissing, StillInUse."""
    require(actor, "agents:write")
    with tenant_transaction(actor.org_id):
        skill = _found(Skill.objects.select_for_update().filter(id=skill_id))
        if Agent.objects.filter(skills__contains=[skill.name], archived_at=None).exists():
            raise StillInUse("An agent has this skill. Take it away there first.")
        announce_change(SkillChanged, skill, "deleted")
        skill.delete()


def list_skill_names() -> set[str]:
    """Return the names of the organisation's skills; in the tenant's transaction."""
    return set(Skill.objects.values_list("name", flat=True))


def skills_of_turn(names: Sequence[str]) -> list[dict[str, Any]]:
    """Return skills as a turn's frame has them: name, description, and files by their paths in the skill's folder."""
    rows = Skill.objects.filter(name__in=names).order_by("name")
    return [
        {"name": row.name, "description": row.description, "files": {**row.files, _ENTRY: _entry(row)}}
        for row in rows
    ]


def say_skills(skills: Sequence[dict[str, Any]]) -> str:
    """Return what an agent is told of its skills; empty without any. It reads one when work calls for it."""
    if not skills:
        return ""
    lines = [
        f"- {skill['name']}: {skill['description']} ({FOLDER}/{skill['name']}/{_ENTRY})" for skill in skills
    ]
    return "\n".join(
        [
            "You have skills: files in the workspace that say how certain work is done here. Before you do work that "
            "one of them is about, read its file and follow it.",
            *lines,
        ]
    )


def _entry(skill: Skill) -> str:
    """Return a skill's own file, with its name and description in front, as tools that know such files read them."""
    said = " ".join(skill.description.split()).replace('"', "'")
    return f'---\nname: {skill.name}\ndescription: "{said}"\n---\n\n{skill.body}'


def _is_path(path: str) -> bool:
    return re.fullmatch(_PATH, path) is not None and path.lower() != _ENTRY.lower()


def _found(rows: QuerySet[Skill]) -> Skill:
    skill = rows.first()
    if skill is None:
        raise SkillMissing("There is no such skill.")
    return skill
