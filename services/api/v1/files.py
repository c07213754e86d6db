"""A workspace's files over REST: for a workspace in any state, which is woken for it."""

from __future__ import annotations

import re
import uuid
from typing import Literal, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError

from services.api.http.bodies import Closed
from services.api.http.downloads import attached
from services.api.http.operations import Call, Download, Endpoint, Upload, operation
from services.api.http.shapes import Shape
from services.api.sandbox_files import WorkspaceFiles
from services.domain.errors import (
    FileChanged,
    FileDenied,
    FileExists,
    FileMissing,
    FileTooLarge,
    Invalid,
    IsAFolder,
    NotAFolder,
    PathInvalid,
    RangeInvalid,
    RateLimited,
    SandboxBusy,
    SandboxGone,
    SandboxStarting,
    SandboxUnreachable,
    VolumeFull,
    WorkspaceArchived,
    WorkspaceMissing,
)
from services.domain.plane.file_refusals import FileRefusedBySystem
from services.kit.environment import environment

ModelT = TypeVar("ModelT", bound=BaseModel)

_ALWAYS = (
    WorkspaceMissing, FileMissing, WorkspaceArchived, SandboxGone, NotAFolder, PathInvalid, FileDenied, RateLimited,
    SandboxStarting, SandboxUnreachable, SandboxBusy, FileRefusedBySystem,
)  # fmt: skip
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class PathQuery(Closed):
    """Which file or folder."""

    path: str = Field(default="", max_length=4_000, description="Below the workspace; empty for all of it.")


class FolderBody(Closed):
    """A folder to make; those above it that are missing are made too."""

    path: str = Field(min_length=1, max_length=4_000)


class MoveBody(Closed):
    """What to move, and where to."""

    path: str = Field(min_length=1, max_length=4_000)
    to: str = Field(min_length=1, max_length=4_000)


class FileShape(Shape):
    """A file, a folder, a link (which is not followed) or something other. `mode` is its permissions, in octal."""

    name: str
    path: str
    kind: Literal["file", "folder", "link", "other"]
    size_bytes: int
    modified_at: str
    mode: str
    etag: str


class FilesShape(Shape):
    """What is in a folder, by name; the file itself when the path names one. `truncated`: there is more."""

    items: list[FileShape]
    truncated: bool

    @classmethod
    def of(cls, answer: dict[str, object]) -> Self:
        """Show a listing. Raises: SandboxUnreachable."""
        return _understood(cls, {"items": answer.get("entries"), "truncated": answer.get("truncated")})


class ReadAnswer(BaseModel):
    """What a sandbox says of a file that it begins to send. Nothing that it says is believed to be well formed."""

    size_bytes: int = Field(ge=0)
    start: int = Field(ge=0)
    length: int = Field(ge=0)
    etag: str = Field(pattern=r"^[0-9a-f-]{1,80}$")


class Files(Endpoint):
    """A workspace's files."""

    tag = "files"

    @operation(errors=_ALWAYS, is_waiting=True)
    def get(self, call: Call, workspace_id: uuid.UUID, query: PathQuery) -> FilesShape:
        """List a folder."""
        return FilesShape.of(WorkspaceFiles(call.actor, workspace_id).do("list", query.path))

    @operation(errors=_ALWAYS, is_waiting=True)
    def delete(self, call: Call, workspace_id: uuid.UUID, query: PathQuery) -> None:
        """Delete a file, or a folder with all that is in it."""
        WorkspaceFiles(call.actor, workspace_id).do("delete", query.path)


class FileContent(Endpoint):
    """One file's content."""

    tag = "files"

    @operation(
        errors=(*_ALWAYS, IsAFolder, FileChanged, RangeInvalid),
        headers=("Range", "If-None-Match"),
        is_waiting=True,
    )
    def get(self, call: Call, workspace_id: uuid.UUID, query: PathQuery) -> Download:
        """Download a file, or with `Range` a part of it (206). With `If-None-Match` 304 when it is the same still."""
        wanted = _read_range(call.headers["Range"])
        answer, body = WorkspaceFiles(call.actor, workspace_id).open("read", query.path, **wanted)
        try:
            said = _understood(ReadAnswer, answer)
        except SandboxUnreachable:
            body.close()
            raise
        etag = f'"{said.etag}"'
        if call.headers["If-None-Match"] == etag:
            body.close()
            return Download(iter(()), status=304, headers={"ETag": etag})
        headers = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Length": str(said.length)}
        if wanted:
            last = max(said.start, said.start + said.length - 1)
            headers["Content-Range"] = f"bytes {said.start}-{last}/{said.size_bytes}"
        headers |= attached(query.path.rpartition("/")[2])
        return Download(body, status=206 if wanted else 200, headers=headers)

    @operation(
        errors=(*_ALWAYS, IsAFolder, FileExists, FileTooLarge, VolumeFull),
        headers=("If-None-Match",),
        is_waiting=True,
    )
    def put(self, call: Call, workspace_id: uuid.UUID, query: PathQuery, upload: Upload) -> FileShape:
        """Upload a file; it appears whole. `If-None-Match: *` refuses to replace one that is there."""
        limit = environment().max_upload_bytes
        files = WorkspaceFiles(call.actor, workspace_id)
        files.admit("write")
        if upload.size > limit:
            raise FileTooLarge(f"The file is larger than {limit} bytes.", max_bytes=limit)
        only_new = call.headers["If-None-Match"]
        if only_new not in (None, "*"):
            raise Invalid("Of If-None-Match only * is known here.")
        answer = files.upload(query.path, upload.chunks(), upload.size, is_new=only_new == "*")
        return _understood(FileShape, answer.get("entry"))


class FileFolders(Endpoint):
    """Making folders."""

    tag = "files"

    @operation(status=201, errors=(*_ALWAYS, FileExists, VolumeFull), is_waiting=True)
    def post(self, call: Call, workspace_id: uuid.UUID, body: FolderBody) -> FileShape:
        """Make a folder."""
        answer = WorkspaceFiles(call.actor, workspace_id).do("mkdir", body.path)
        return _understood(FileShape, answer.get("entry"))


class FileMove(Endpoint):
    """Moving files."""

    tag = "files"

    @operation(errors=(*_ALWAYS, FileExists, VolumeFull), is_waiting=True)
    def post(self, call: Call, workspace_id: uuid.UUID, body: MoveBody) -> FileShape:
        """Move or rename a file or a folder; what is at the target already stays."""
        answer = WorkspaceFiles(call.actor, workspace_id).do("move", body.path, to=body.to)
        return _understood(FileShape, answer.get("entry"))


class FileArchive(Endpoint):
    """Downloading folders."""

    tag = "files"

    @operation(errors=_ALWAYS, is_waiting=True)
    def get(self, call: Call, workspace_id: uuid.UUID, query: PathQuery) -> Download:
        """Download a folder as tar.gz."""
        _, body = WorkspaceFiles(call.actor, workspace_id).open("archive", query.path)
        name = query.path.rstrip("/").rpartition("/")[2] or "workspace"
        return Download(body, headers=attached(f"{name}.tar.gz", "application/gzip"))


def _understood(model: type[ModelT], said: object) -> ModelT:
    """Read what a sandbox answered. Raises: SandboxUnreachable for what no runner of ours says."""
    try:
        return model.model_validate(said)
    except ValidationError as error:
        raise SandboxUnreachable("The sandbox does not answer as expected.") from error


def _read_range(header: str | None) -> dict[str, int]:
    """Return a single range as the runner takes it; any other is ignored, as HTTP lets us. Source: RFC 9110, 14.2."""
    found = _RANGE.fullmatch(header or "")
    if found is None or found[0] == "bytes=-":
        return {}
    first, last = found[1], found[2]
    if not first:
        return {"suffix": int(last)}
    if last and int(last) < int(first):
        return {}
    return {"start": int(first), **({"end": int(last)} if last else {})}
