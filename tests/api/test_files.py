"""Files over REST, through the real gateway and a real runner."""

from __future__ import annotations

import io
import tarfile
import time
import uuid
from collections.abc import Iterator

import pytest

from conftest import Tenant
from services.api import sandbox_files
from services.domain.identity.actions import create_token
from services.domain.plane.models import Sandbox
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import create_workspace
from services.domain.workspaces.models import Workspace
from services.kit.environment import environment
from tests.api.client import Answer, Api
from tests.fakes.linked_sandbox import LinkedHost, LinkedSandbox, linked_host


@pytest.fixture
def host(database: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[LinkedHost]:
    with linked_host(monkeypatch) as running:
        yield running


def make_workspace(tenant: Tenant, *, is_persistent: bool = True) -> Workspace:
    with tenant_transaction(tenant.organisation.id):
        return create_workspace(tenant.owner, tenant.agent, source="api", is_persistent=is_persistent)


@pytest.fixture
def workspace(acme: Tenant) -> Workspace:
    return make_workspace(acme)


@pytest.fixture
def sandbox(host: LinkedHost, workspace: Workspace) -> LinkedSandbox:
    return host.link(workspace)


@pytest.fixture
def files(workspace: Workspace) -> str:
    return f"/v1/workspaces/{workspace.id}/files"


def put(api: Api, path: str, content: bytes, **headers: str) -> Answer:
    return api.call("PUT", path, content, headers=headers)


def test_a_file_is_uploaded_listed_downloaded_moved_and_deleted(sandbox, alice, files):
    content = bytes(range(256)) * 4_000
    stored = put(alice, f"{files}/content?path=data/blob.bin", content)
    assert (stored.status, stored.body["path"], stored.body["size_bytes"]) == (
        200,
        "data/blob.bin",
        len(content),
    )
    assert (sandbox.folder / "data/blob.bin").read_bytes() == content
    listed = alice.get(f"{files}?path=data").body
    assert [entry["path"] for entry in listed["items"]] == ["data/blob.bin"]
    got = alice.get(f"{files}/content?path=data/blob.bin")
    assert got.raw == content
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert got.headers["ETag"] == f'"{stored.body["etag"]}"'
    moved = alice.post(f"{files}/move", {"path": "data/blob.bin", "to": "other/b.bin"})
    assert moved.body["path"] == "other/b.bin"
    assert alice.delete(f"{files}?path=other").status == 204
    assert alice.get(f"{files}/content?path=other/b.bin").code == "file_missing"


def test_a_part_of_a_file_and_an_unchanged_one(sandbox, alice, files):
    (sandbox.folder / "f.txt").write_bytes(b"0123456789")
    part = alice.call_unchecked("GET", f"{files}/content?path=f.txt", headers={"Range": "bytes=2-4"})
    assert (part.status, part.raw, part.headers["Content-Range"]) == (206, b"234", "bytes 2-4/10")
    end = alice.call_unchecked("GET", f"{files}/content?path=f.txt", headers={"Range": "bytes=-3"})
    assert end.raw == b"789"
    assert alice.get(f"{files}/content?path=f.txt", Range="bytes=10-").code == "range_invalid"
    etag = alice.get(f"{files}/content?path=f.txt").headers["ETag"]
    same = alice.call_unchecked("GET", f"{files}/content?path=f.txt", headers={"If-None-Match": etag})
    assert (same.status, same.raw) == (304, b"")


def test_a_folder_is_archived(sandbox, alice, files):
    (sandbox.folder / "src").mkdir()
    (sandbox.folder / "src" / "a.py").write_text("print(1)")
    got = alice.get(f"{files}/archive?path=src")
    assert 'filename="src.tar.gz"' in got.headers["Content-Disposition"]
    with tarfile.open(fileobj=io.BytesIO(got.raw)) as packed:
        assert packed.getnames() == ["src/a.py"]


def test_what_cannot_be_done_has_a_code_of_its_own(sandbox, alice, files, monkeypatch):
    (sandbox.folder / "f").touch()
    (sandbox.folder / "d").mkdir()
    (sandbox.folder / "out").symlink_to("/etc")
    assert alice.get(f"{files}/content?path=d").code == "is_a_folder"
    assert alice.get(f"{files}?path=f/x").code == "not_a_folder"
    assert alice.get(f"{files}/content?path=../../etc/passwd").code == "path_invalid"
    assert alice.get(f"{files}/content?path=out/passwd").status in (400, 409)
    assert alice.post(f"{files}/folders", {"path": "d"}).code == "file_exists"
    assert put(alice, f"{files}/content?path=f", b"x", If_None_Match="*").code == "file_exists"
    small = environment().model_copy(update={"max_upload_bytes": 3})
    monkeypatch.setattr("services.api.v1.files.environment", lambda: small)
    too_large = put(alice, f"{files}/content?path=g", b"1234")
    assert (too_large.status, too_large.code) == (413, "file_too_large")
    assert not (sandbox.folder / "g").exists()


def test_viewers_read_and_do_not_write(sandbox, acme, files):
    reader = Api(create_token(acme.owner, name="r", scopes=["files:read", "workspaces:read"])[1])
    assert reader.get(files).status == 200
    assert put(reader, f"{files}/content?path=f", b"x").code == "scope_missing"
    assert reader.delete(f"{files}?path=f").code == "scope_missing"


def test_another_organisations_files_do_not_exist(sandbox, mallory, files):
    (sandbox.folder / "f").write_text("acme only")
    for answer in (
        mallory.get(files),
        mallory.get(f"{files}/content?path=f"),
        put(mallory, f"{files}/content?path=f", b"x"),
        mallory.delete(f"{files}?path=f"),
        mallory.get(f"{files}/archive"),
    ):
        assert (answer.status, answer.code) == (404, "workspace_not_found")
    assert (sandbox.folder / "f").read_text() == "acme only"


def test_a_sleeping_workspace_is_woken_and_waited_for(host, workspace, alice, files, monkeypatch):
    started = time.monotonic()
    sleeping = alice.get(files)
    assert (sleeping.status, sleeping.code) == (503, "sandbox_starting")
    assert "Retry-After" in sleeping.headers
    assert time.monotonic() - started < 10
    monkeypatch.setattr(sandbox_files, "WAKE_S", 30)
    monkeypatch.setattr(sandbox_files, "wake_workspace", lambda actor, workspace_id: host.link(workspace))
    assert alice.get(files).body == {"items": [], "truncated": False}


def test_an_ephemeral_workspace_has_files_only_while_it_lives(host, acme, alice):
    workspace = make_workspace(acme, is_persistent=False)
    assert alice.get(f"/v1/workspaces/{workspace.id}/files").code == "sandbox_gone"
    host.link(workspace)
    assert alice.get(f"/v1/workspaces/{workspace.id}/files").status == 200


def test_a_sandbox_that_is_not_there_any_more_is_unreachable(sandbox, workspace, alice, files):
    Sandbox.objects.filter(id=sandbox.id).update(id=uuid.uuid4())
    answer = alice.get(files)
    assert (answer.status, answer.code) == (503, "sandbox_unreachable")


def test_one_organisation_does_not_take_all_places(workspace, alice, acme, files):
    for _ in range(sandbox_files.MAX_OF_ORGANISATION):
        sandbox_files.TRANSFERS.enter(acme.organisation.id)
    try:
        assert alice.get(files).code == "rate_limited"
    finally:
        for _ in range(sandbox_files.MAX_OF_ORGANISATION):
            sandbox_files.TRANSFERS.leave(acme.organisation.id)
