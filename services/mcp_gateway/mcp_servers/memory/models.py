"""What the memory tools take and give."""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, Field

from services.domain.memory.actions import MAX_BODY_BYTES, MAX_NAME_CHARS
from services.domain.memory.models import Memory
from services.domain.memory.queries import Found, Sized
from services.kit.clock import rfc3339
from services.mcp_gateway.mcp_servers.tools import ToolInput, ToolOutput

MOST_NAMES = 100

Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_NAME_CHARS,
        description="The note's name, one line. Names are exact: case matters.",
        examples=["deploy-steps", "people/ada"],
    ),
]
Text = Annotated[
    str,
    Field(
        max_length=MAX_BODY_BYTES,
        description="Text; Markdown is fine. A note has at most 100 kB.",
        examples=["Staging is deployed by `make release`, never on Fridays."],
    ),
]
Limit = Annotated[int, Field(ge=1, le=50, description="The most to return.")]
Version = Annotated[
    int | None,
    Field(
        ge=0,
        description="The `version` that you read. If the note has changed since, nothing is done and you are told. 0: "
        "only if there is no such note yet. Leave out to act whatever is there.",
        examples=[3],
    ),
]
Prefix = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=MAX_NAME_CHARS,
        description="Only notes whose names begin so.",
        examples=["people/"],
    ),
]
NoteName = Annotated[str, Field(description="The note's name.")]
NoteVersion = Annotated[
    int,
    Field(description="How often the note was written; give it back as `if_version` when you replace it."),
]
Size = Annotated[int, Field(description="The size of the note's text in bytes.")]
UpdatedAt = Annotated[str, Field(description="When the note was last written, in UTC.")]


class WriteInput(ToolInput):
    name: Name
    body: Text
    if_version: Version = None


class AppendInput(ToolInput):
    name: Name
    text: Text


class NameInput(ToolInput):
    name: Name


class ForgetInput(ToolInput):
    name: Name
    if_version: Version = None


class ForgetManyInput(ToolInput):
    names: list[Name] | None = Field(
        default=None,
        max_length=MOST_NAMES,
        description="Only these.",
        examples=[["todo-monday", "todo-tuesday"]],
    )
    name_prefix: Prefix = None
    unchanged_since: AwareDatetime | None = Field(
        default=None,
        description="Only notes that were not written after this moment, with its offset.",
        examples=["2026-01-31T00:00:00Z"],
    )


class SearchInput(ToolInput):
    query: str = Field(
        min_length=1,
        max_length=500,
        description="Words to look for; the more fit, the higher a note comes. Misspelt ones are found too.",
        examples=["deploy staging"],
    )
    limit: Limit = 10


class ListInput(ToolInput):
    limit: Limit = 50
    name_prefix: Prefix = None
    cursor: str | None = Field(
        default=None, max_length=1_000, description="`next` of the page before; leave out for the first page."
    )


class Written(ToolOutput):
    name: NoteName
    version: NoteVersion
    size_bytes: Size
    updated_at: UpdatedAt

    @classmethod
    def of(cls, note: Memory) -> Written:
        return cls(
            name=note.name,
            version=note.version,
            size_bytes=len(note.body.encode()),
            updated_at=rfc3339(note.updated_at),
        )


class Note(ToolOutput):
    name: NoteName
    body: str = Field(description="The whole text.")
    version: NoteVersion
    updated_at: UpdatedAt

    @classmethod
    def of(cls, note: Memory) -> Note:
        return cls(name=note.name, body=note.body, version=note.version, updated_at=rfc3339(note.updated_at))


class FoundNote(ToolOutput):
    name: NoteName
    snippet: str = Field(description="The part of the text that shows why it was found.")
    updated_at: UpdatedAt

    @classmethod
    def of(cls, hit: Found) -> FoundNote:
        return cls(name=hit.memory.name, snippet=hit.snippet, updated_at=rfc3339(hit.memory.updated_at))


class SearchOutput(ToolOutput):
    notes: list[FoundNote] = Field(description="The notes that were found, the best first.")


class ListedNote(ToolOutput):
    name: NoteName
    version: NoteVersion
    size_bytes: Size
    updated_at: UpdatedAt

    @classmethod
    def of(cls, row: Sized) -> ListedNote:
        note = row.memory
        return cls(
            name=note.name,
            version=note.version,
            size_bytes=row.size_bytes,
            updated_at=rfc3339(note.updated_at),
        )


class ListOutput(ToolOutput):
    notes: list[ListedNote] = Field(description="The notes, by name.")
    next: str | None = Field(description="Give it as `cursor` for the next page; null on the last one.")


class Forgotten(ToolOutput):
    count: int = Field(description="How many notes are gone.")
    names: list[str] = Field(description=f"Their names, at most {MOST_NAMES} of them.")
