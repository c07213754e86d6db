"""A workspace's files on the dashboard, through the real gateway and a real runner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from conftest import Tenant
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import create_workspace
from tests.dashboard.conftest import Person, assert_clean
from tests.fakes.linked_sandbox import linked_host

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 40


@dataclass(frozen=True, slots=True)
class Held:
    """The address of a workspace's files, and the folder in which they are."""

    address: str
    folder: Path


@pytest.fixture
def sandbox(acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    with linked_host(monkeypatch) as host:
        with tenant_transaction(acme.organisation.id):
            workspace = create_workspace(acme.owner, acme.agent, source="web", is_persistent=True)
        yield Held(f"/workspaces/{workspace.id}/files", host.link(workspace).folder)


def read(person: Person, sandbox: Held, path: str = "") -> str:
    answer = person.get(sandbox.address, data={"path": path})
    assert answer.status_code == 200, answer.content.decode()
    page = answer.content.decode()
    assert_clean(page)
    return page


def send(person: Person, sandbox: Held, what: str, **fields: object) -> str:
    answer = person.post(f"{sandbox.address}/{what}", fields, follow=True)
    return answer.content.decode()


def test_files_are_uploaded_looked_at_edited_moved_and_deleted(sandbox, alice):
    assert "No files yet" in read(alice, sandbox)
    given = [SimpleUploadedFile("notes.txt", b"first\n"), SimpleUploadedFile("<i>odd.bin", b"\x00\x01")]
    page = send(alice, sandbox, "upload", path="", files=given)
    assert "Uploaded 2 files." in page
    assert "&lt;i&gt;odd.bin" in page
    page = send(alice, sandbox, "upload", path="", files=[SimpleUploadedFile("notes.txt", b"other")])
    assert "Uploaded" not in page
    assert (sandbox.folder / "notes.txt").read_bytes() == b"first\n"

    page = read(alice, sandbox, "notes.txt")
    assert "first" in page
    etag = page.split('name="etag" value="')[1].split('"')[0]
    send(alice, sandbox, "save", path="notes.txt", etag=etag, text="second\r\nthird\r\n")
    assert (sandbox.folder / "notes.txt").read_bytes() == b"second\nthird\n"
    page = send(alice, sandbox, "save", path="notes.txt", etag=etag, text="lost update")
    assert "changed since you opened it" in page
    assert "lost update" in page
    assert (sandbox.folder / "notes.txt").read_bytes() == b"second\nthird\n"

    send(alice, sandbox, "folder", path="", name="deep/er")
    assert "second" in send(alice, sandbox, "move", path="notes.txt", to="deep/er/notes.txt")
    page = send(alice, sandbox, "delete", path="deep/er/notes.txt")
    assert "Deleted." in page
    assert list((sandbox.folder / "deep/er").iterdir()) == []


def test_pictures_are_shown_and_nothing_else_is_sent_as_one(sandbox, alice):
    (sandbox.folder / "chart.png").write_bytes(PNG)
    (sandbox.folder / "page.png").write_bytes(b"<script>alert(1)</script>")
    assert "files/image?path=chart.png" in read(alice, sandbox, "chart.png")
    shown = alice.get(f"{sandbox.address}/image", data={"path": "chart.png"})
    assert (shown.content, shown.headers["Content-Type"]) == (PNG, "image/png")
    assert shown.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert alice.get(f"{sandbox.address}/image", data={"path": "page.png"}).status_code == 404


def test_text_of_a_file_cannot_leave_the_editor(sandbox, alice):
    (sandbox.folder / "x.html").write_text("</textarea><script>alert(1)</script>")
    page = read(alice, sandbox, "x.html")
    assert "&lt;/textarea&gt;&lt;script&gt;" in page


def test_a_path_out_of_the_workspace_and_a_missing_one_say_so(sandbox, alice):
    assert alice.get(sandbox.address, data={"path": "../../etc/passwd"}).status_code == 400
    assert alice.get(sandbox.address, data={"path": "nowhere.txt"}).status_code == 404
