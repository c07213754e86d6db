"""What the memory tools take and give."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from services.domain.memory.actions import MAX_BODY_BYTES, MAX_NAME_CHARS
from services.domain.memory.models import Memory
from services.kit.clock import rfc3339
from services.mcp_gateway.mcp_servers.tools import ToolInput, ToolOutput

Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_NAME_CHARS,
        description="The note's name, one line, for example `deploy-steps`. Names are exact: case matters.",
    ),
]
Text = Annotated[str, Field(max_length=MAX_BODY_BYTES, description="Text; Markdown is fine. At most 100 kB.")]
Limit = Annotated[int, Field(ge=1, le=50, description="The most to return.")]


class WriteInput(ToolInput):
    name: Name
    body: Text


class AppendInput(ToolInput):
    name: Name
    text: Text


class NameInput(ToolInput):
    name: Name


class SearchInput(ToolInput):
    query: str = Field(
        min_length=1, max_length=500, description="Words to look for; the more fit, the higher."
    )
    limit: Limit = 10


class ListInput(ToolInput):
    limit: Limit = 50
    cursor: str | None = Field(
        default=None, max_length=1_000, description="`next` of the page before; leave out for the first page."
    )


class Written(ToolOutput):
    name: str
    size_bytes: int
    updated_at: str

    @classmethod
    def of(cls, note: Memory) -> Written:
        return cls(name=note.name, size_bytes=len(note.body.encode()), updated_at=rfc3339(note.updated_at))


class Note(ToolOutput):
    name: str
    body: str
    updated_at: str


class FoundNote(ToolOutput):
    name: str
    snippet: str
    updated_at: str


class SearchOutput(ToolOutput):
    notes: list[FoundNote]


class ListedNote(ToolOutput):
    name: str
    size_bytes: int
    updated_at: str


class ListOutput(ToolOutput):
    notes: list[ListedNote]
    next: str | None


class Deleted(ToolOutput):
    name: str
    deleted: Literal[True] = True
