"""Files of the workspace that a call carries outside: within limits, and where a person allowed it, those they saw."""

from __future__ import annotations

import hashlib
import posixpath
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.domain.approvals.subjects import SeenFile
from services.domain.errors import FileChanged, FileTooLarge
from services.kit.environment import environment
from services.kit.file_names import clean_name
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.sandbox_files import FILES

MAX_FILES = 10


@dataclass(frozen=True, slots=True)
class WorkspaceFile:
    """A file as it was when it was read. `name` is what those who get it see."""

    path: str
    name: str
    content: bytes = field(repr=False)

    def seen(self) -> SeenFile:
        """Return what a person is shown of it."""
        digest = hashlib.sha256(self.content).hexdigest()
        return SeenFile(path=self.path, name=self.name, size_bytes=len(self.content), sha256=digest)


async def see_files(
    sandbox_id: uuid.UUID | None, paths: Sequence[str], most_bytes: int | None = None
) -> tuple[SeenFile, ...]:
    """Return what people must see of files before they allow that these leave. Raises: what `read_files` raises."""
    return tuple([file.seen() for file in await _read(sandbox_id, paths, most_bytes)])


async def read_files(
    caller: Caller, paths: Sequence[str], most_bytes: int | None = None
) -> list[WorkspaceFile]:
    """Read files of the caller's workspace; of a call that was held, only what people saw when they allowed it.

    `most_bytes` is how much they may be in all, without one what the installation lets mails carry.
    Raises: FileChanged, FileMissing, IsAFolder, PathInvalid, FileTooLarge, SandboxUnreachable, SandboxBusy, NeedsTask.
    """
    files = await _read(caller.task.sandbox_id, paths, most_bytes) if paths else []
    if caller.allowed_files is not None:
        for file in files:
            if file.seen() not in caller.allowed_files:
                raise FileChanged(
                    f"{file.name} is not what it was when a person was asked, so nothing was done. "
                    "Call again: they are asked about what it is now."
                )
    return files


async def _read(
    sandbox_id: uuid.UUID | None, paths: Sequence[str], most_bytes: int | None
) -> list[WorkspaceFile]:
    most = left = environment().max_attachment_bytes if most_bytes is None else most_bytes
    files = []
    for path in paths:
        try:
            content = await FILES.read(sandbox_id, path, max_bytes=left)
        except FileTooLarge as error:
            raise FileTooLarge(f"{path}: the files may have {most} bytes in all.", max_bytes=most) from error
        left -= len(content)
        files.append(WorkspaceFile(path, clean_name(posixpath.basename(path), "file"), content))
    return files
