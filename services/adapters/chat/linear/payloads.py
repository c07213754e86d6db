"""The parts of Linear's JSON that are read: known fields have their types, unknown ones are left out."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class _Lenient(BaseModel):
    model_config = ConfigDict(
        extra="ignore", strict=True, hide_input_in_errors=True, alias_generator=to_camel
    )


class Person(_Lenient):
    id: str = Field(default="", max_length=100)
    name: str | None = None
    display_name: str | None = None
    type: str = ""

    def shown(self) -> str:
        """Return the name that people know."""
        return self.name or self.display_name or ""


class Call(_Lenient):
    """What every call has, whatever it is about."""

    type: str = ""
    action: str = ""
    created_at: str = ""
    actor: Person | None = None
    app_user_id: str | None = None
    prompt_context: str | None = None
    updated_from: dict[str, Any] | None = None


class Entity(_Lenient):
    """An issue or a comment."""

    id: str = Field(min_length=1, max_length=100)
    identifier: str | None = None
    title: str | None = None
    description: str | None = None
    body: str | None = None
    created_at: str = ""
    updated_at: str | None = None
    issue_id: str | None = Field(default=None, max_length=100)
    parent_id: str | None = Field(default=None, max_length=100)
    user_id: str = ""
    creator_id: str = ""
    assignee_id: str | None = None
    user: Person | None = None
    issue: Entity | None = None

    def words(self) -> str:
        """Return an issue's title and description."""
        return f"{self.title or ''}\n\n{self.description or ''}".strip()

    def label(self) -> str:
        """Return what an issue is called."""
        return ": ".join(filter(None, (self.identifier, self.title)))


class Session(_Lenient):
    id: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    issue_id: str | None = Field(default=None, max_length=100)
    issue: Entity | None = None
    comment: Entity | None = None
    creator: Person | None = None
    creator_id: str = ""
    created_at: str = ""

    def issue_ref(self) -> str:
        """Return the id of the issue that the session is on, or an empty text."""
        return self.issue_id or (self.issue.id if self.issue else "")

    def words(self) -> str:
        """Return the words of the issue."""
        return self.issue.words() if self.issue else ""

    def title(self) -> str:
        """Return what the issue is called."""
        return self.issue.label() if self.issue else ""


class _Content(_Lenient):
    body: str = ""


class Activity(_Lenient):
    id: str = Field(min_length=1, max_length=100)
    content: _Content = _Content()
    signal: str | None = None
    user: Person | None = None
    user_id: str = ""
    source_comment_id: str | None = Field(default=None, max_length=100)
    created_at: str = ""
