"""A workspace's files: its folders, what is in a file, and what people change. Each visit wakes the sandbox."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_POST, require_safe

from services.api.dashboard.forms.files import FolderForm, MoveForm, SaveForm
from services.api.dashboard.pages import PageRequest, attempt, page, show
from services.api.sandbox_files import WorkspaceFiles
from services.api.v1.files import FileShape, FilesShape
from services.domain.errors import FileChanged, FileTooLarge, Invalid, Missing
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.queries import get_workspace
from services.kit.environment import environment

PREVIEW_BYTES = 512 * 1024
IMAGE_BYTES = 16 * 1024 * 1024
# What a browser shows as a picture and cannot be made to run, by the first bytes. Source: WHATWG MIME Sniffing, 6.1.
_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)
_IMAGE_NAMES = (".png", ".jpg", ".jpeg", ".gif", ".webp")


class NotAnImage(Missing):
    """The file is no picture that a browser may be shown."""

    code = "not_an_image"


@dataclass(frozen=True, slots=True)
class Crumb:
    """A folder on the way to what is shown."""

    name: str
    path: str


@page
@require_safe
def files(request: PageRequest, workspace_id: uuid.UUID) -> HttpResponse:
    """Show a folder, or a file with what is in it."""
    path = request.GET.get("path", "").strip("/")
    return _show(request, workspace_id, path)


@page
@require_safe
def image(request: PageRequest, workspace_id: uuid.UUID) -> HttpResponse:
    """Give a picture's bytes. Raises: NotAnImage."""
    answer, body = WorkspaceFiles(request.actor, workspace_id).open("read", request.GET.get("path", ""))
    try:
        content = b"".join(body) if int(answer["length"]) <= IMAGE_BYTES else b""
    finally:
        body.close()
    kind = _image_kind(content)
    if kind is None:
        raise NotAnImage("This is no picture that can be shown.")
    response = HttpResponse(content, content_type=kind)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response


@page
@require_POST
def upload(request: PageRequest, workspace_id: uuid.UUID) -> HttpResponse:
    """Take in files, each of which appears whole; one that is there already is replaced only where that was ticked."""
    WorkspaceFiles(request.actor, workspace_id).admit("write")
    folder = request.POST.get("path", "").strip("/")
    given = request.FILES.getlist("files")
    if not given:
        raise Invalid("Choose the files first.")
    is_new = request.POST.get("replace") != "on"
    told = given[0].name if len(given) == 1 else f"{len(given)} files"

    def store() -> None:
        for file in given:
            size = file.size or 0
            if size > (limit := environment().max_upload_bytes):
                raise FileTooLarge(f"{file.name} is larger than {limit} bytes.", max_bytes=limit)
            target = f"{folder}/{file.name}" if folder else str(file.name)
            WorkspaceFiles(request.actor, workspace_id).upload(target, file.chunks(), size, is_new=is_new)

    attempt(request, store, f"Uploaded {told}.")
    return _to(workspace_id, folder)


@page
@require_POST
def make_folder(request: PageRequest, workspace_id: uuid.UUID) -> HttpResponse:
    """Make a folder in the one that is shown."""
    form = FolderForm(request.POST)
    folder = request.POST.get("path", "").strip("/")
    if not form.submit(lambda given: _do(request, workspace_id, "mkdir", given["target"])):
        return _show(request, workspace_id, folder, folder_form=form)
    return _to(workspace_id, form.cleaned_data["target"])


@page
@require_POST
def move(request: PageRequest, workspace_id: uuid.UUID) -> HttpResponse:
    """Give a file or a folder another name or place."""
    form = MoveForm(request.POST)
    path = request.POST.get("path", "").strip("/")
    if not form.submit(lambda given: _do(request, workspace_id, "move", given["path"], to=given["to"])):
        return _show(request, workspace_id, path, move_form=form)
    return _to(workspace_id, form.cleaned_data["to"])


@page
@require_POST
def delete(request: PageRequest, workspace_id: uuid.UUID) -> HttpResponse:
    """Delete a file, or a folder with all that is in it."""
    path = request.POST.get("path", "").strip("/")
    is_done = attempt(request, lambda: _do(request, workspace_id, "delete", path), "Deleted.")
    return _to(workspace_id, _above(path) if is_done else path)


@page
@require_POST
def save(request: PageRequest, workspace_id: uuid.UUID) -> HttpResponse:
    """Store an edited text, unless the file is another by now than the one that was opened."""
    form = SaveForm(request.POST)
    path = request.POST.get("path", "").strip("/")

    def store(given: dict[str, Any]) -> None:
        held = WorkspaceFiles(request.actor, workspace_id)
        (found,) = FilesShape.of(held.do("list", given["path"])).items
        if found.etag != given["etag"]:
            raise FileChanged(
                "The file was changed since you opened it. Copy your text, open the file again and put it in."
            )
        content = given["text"].encode()
        held.upload(given["path"], iter([content]), len(content), is_new=False)

    if not form.submit(store):
        return _show(request, workspace_id, path, save_form=form)
    return _to(workspace_id, path)


def _do(request: PageRequest, workspace_id: uuid.UUID, op: str, path: str, **params: Any) -> None:
    WorkspaceFiles(request.actor, workspace_id).do(op, path, **params)


def _to(workspace_id: uuid.UUID, path: str) -> HttpResponse:
    address = reverse("dashboard:files", args=[workspace_id])
    return redirect(f"{address}?{urlencode({'path': path})}" if path else address)


def _show(request: PageRequest, workspace_id: uuid.UUID, path: str, **forms: Any) -> HttpResponse:
    """Show a folder or a file. The sandbox is asked outside of the page's transaction: it may have to start."""
    held = WorkspaceFiles(request.actor, workspace_id)
    listed = FilesShape.of(held.do("list", path))
    is_file = len(listed.items) == 1 and listed.items[0].path == path
    found = listed.items[0] if is_file else None
    text = _text_of(held, found) if found else None
    status = next((form.status for form in forms.values()), 200)
    with tenant_transaction(request.actor.org_id):
        workspace = get_workspace(request.actor, workspace_id)

    def context() -> dict[str, Any]:
        return {
            "workspace": workspace,
            "path": path,
            "name": path.rpartition("/")[2],
            "above": _above(path),
            "crumbs": _crumbs(path),
            "listed": [(item, _changed_at(item)) for item in sorted(listed.items, key=_place_of)],
            "is_truncated": listed.truncated,
            "file": found,
            "changed_at": _changed_at(found) if found else None,
            "text": text,
            "is_image": found is not None and found.name.lower().endswith(_IMAGE_NAMES),
            "folder_form": FolderForm(),
            "move_form": MoveForm(initial={"path": path, "to": path}),
            "save_form": SaveForm(initial={"path": path, "etag": found.etag, "text": text})
            if found
            else None,
            **forms,
        }

    return show(request, "dashboard/files/files.html", context, status=status)


def _text_of(held: WorkspaceFiles, found: FileShape) -> str | None:
    """Return a small file's text, or None for what is no text, is too long or is no file."""
    if found.kind != "file" or found.size_bytes > PREVIEW_BYTES:
        return None
    _, body = held.open("read", found.path)
    try:
        content = b"".join(body)
    finally:
        body.close()
    if b"\x00" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _image_kind(first: bytes) -> str | None:
    if first[:4] == b"RIFF" and first[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for mark, kind in _IMAGES if first.startswith(mark)), None)


def _place_of(item: FileShape) -> tuple[bool, str]:
    return item.kind != "folder", item.name.casefold()


def _changed_at(item: FileShape) -> datetime | None:
    """Return when a file was changed; None where the sandbox says no moment."""
    try:
        return datetime.fromisoformat(item.modified_at)
    except ValueError:
        return None


def _above(path: str) -> str:
    return path.rpartition("/")[0]


def _crumbs(path: str) -> list[Crumb]:
    parts = path.split("/") if path else []
    return [Crumb(name, "/".join(parts[: place + 1])) for place, name in enumerate(parts)]
