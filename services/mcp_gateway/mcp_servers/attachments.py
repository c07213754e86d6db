"""Files of mails into the workspace, and files of the workspace into mails, for the servers that write mail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, StringConstraints

from services.domain.errors import FileExists
from services.kit.environment import environment
from services.kit.file_names import clean_name, content_type_of
from services.kit.letters import Enclosure
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.tools import ToolOutput
from services.mcp_gateway.sandbox_files import FILES, WORKSPACE
from services.mcp_gateway.workspace_files import MAX_FILES, read_files

FOLDER = "attachments"
MAX_LISTED = 100
_MOST_NAMES = 50

_Path = StringConstraints(min_length=1, max_length=1_000)
Attachments = Annotated[
    list[Annotated[str, _Path]],
    Field(
        max_length=MAX_FILES,
        description="Files of your workspace that go with it, each by its path there: `out/report.pdf`. Small ones.",
    ),
]
AttachmentNumber = Annotated[
    int, Field(ge=1, le=MAX_LISTED, description="An attachment's `number`, as reading the mail gave it.")
]
SavePath = Annotated[
    Annotated[str, _Path] | None,
    Field(
        description="The new file, by its path in your workspace. Leave out for a name of its own in `attachments/`.",
    ),
]


class SavedOutput(ToolOutput):
    path: str = Field(description="Where the file is, relative to your workspace.")
    name: str = Field(description="The name that it had in the mail, without what no file name may have.")
    mime_type: str = Field(description="For example `application/pdf`, as the sender says.")
    size_bytes: int = Field(description="Its size in bytes.")


def most_bytes() -> int:
    """Return how large an attachment may be that is saved, and all together that go with one mail."""
    return environment().max_attachment_bytes


async def enclose(caller: Caller, paths: Sequence[str]) -> tuple[Enclosure, ...]:
    """Return files of the caller's workspace, ready for a letter. Raises: what `read_files` raises."""
    files = await read_files(caller, paths)
    return tuple([Enclosure(file.name, content_type_of(file.name), file.content) for file in files])


async def save(caller: Caller, file: Enclosure, path: str | None) -> SavedOutput:
    """Put a file of a mail into the caller's workspace; what is there already stays.

    Raises: FileExists, NotAFolder, PathInvalid, FileDenied, VolumeFull, SandboxUnreachable, SandboxBusy, NeedsTask.
    """
    name = clean_name(file.name, "attachment")
    for number in range(1, _MOST_NAMES + 1):
        place = path.removeprefix(WORKSPACE) if path is not None else f"{FOLDER}/{_numbered(name, number)}"
        try:
            await FILES.write_new(caller.task.sandbox_id, place, file.content)
        except FileExists:
            if path is not None:
                raise
        else:
            return SavedOutput(
                path=place, name=name, mime_type=file.content_type, size_bytes=len(file.content)
            )
    raise FileExists(f"There are too many files called {name} in {FOLDER}/ already. Give a `path`.")


def _numbered(name: str, number: int) -> str:
    stem, dot, suffix = name.rpartition(".")
    if number == 1:
        return name
    return f"{stem}-{number}{dot}{suffix}" if stem else f"{name}-{number}"
