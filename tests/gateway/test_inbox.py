"""Files that people sent, in the workspace before a real runner hears of them."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from conftest import Tenant
from services.domain.chats.models import Chat, InboundMessage
from services.domain.errors import SandboxUnreachable, VolumeFull
from services.domain.media.inbox import Due, Part, put_in_inbox
from services.domain.media.models import FileState, InboundFile, InboxFile
from services.domain.plane.models import Sandbox, SandboxState
from services.domain.tasks.messages import send_message
from services.domain.tasks.models import Task, TaskStatus
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.environment import environment
from services.kit.redisbus import nudge
from services.mcp_gateway import inbox
from services.worker.jobs.volumes import storage
from tests.domain.cast import fresh, submit
from tests.fakes.chat_places import chat_place
from tests.fakes.linked_sandbox import LinkedHost, LinkedSandbox, eventually, linked_host


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep objects in a folder of the test's own."""
    monkeypatch.setattr(environment(), "storage_dir", tmp_path / "objects")
    storage.cache_clear()
    inbox._storage.cache_clear()
    yield
    storage.cache_clear()
    inbox._storage.cache_clear()


@pytest.fixture
def host(database: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[LinkedHost]:
    with linked_host(monkeypatch) as running:
        yield running


@pytest.fixture
def chat(acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chat]:
    with chat_place("telegram", acme, monkeypatch) as place:
        yield place.chat


def kept(chat: Chat, name: str, data: bytes, *, text: bytes = b"") -> InboundFile:
    """Keep a file that came with a message of the chat."""
    key = f"incoming/20260101/{uuid.uuid4()}"
    storage().put(key, io.BytesIO(data))
    if text:
        storage().put(f"{key}.txt", io.BytesIO(text))
    with tenant_transaction(chat.org_id):
        message = InboundMessage.objects.create(
            org_id=chat.org_id,
            link_id=chat.link_id,
            chat=chat,
            dedupe_key=str(uuid.uuid4()),
            platform_message_id="1",
            sender_id="7",
            sent_at=now(),
        )
        return InboundFile.objects.create(
            org_id=chat.org_id,
            message=message,
            number=1,
            ref="x",
            name=name,
            state=FileState.KEPT,
            key=key,
            text_key=f"{key}.txt" if text else "",
        )


def put(task: Task, file: InboundFile) -> None:
    with tenant_transaction(task.org_id):
        put_in_inbox(task, [file.message])


def give(host: LinkedHost, task: Task) -> LinkedSandbox:
    """Let a task be at work in a sandbox of its own."""
    linked = host.link(task.workspace)
    Task.objects.using("operator").filter(id=task.id).update(
        sandbox_id=linked.id,
        status=TaskStatus.STARTING,
        lease_token=uuid.uuid4(),
        lease_until=now() + timedelta(seconds=60),
    )
    Sandbox.objects.filter(id=linked.id).update(task_id=task.id, state=SandboxState.BUSY)
    nudge("gateway", str(linked.id))
    return linked


def test_a_turn_begins_with_its_files_in_the_workspace(host, acme, chat):
    file = kept(chat, "plan.pdf", b"%PDF-", text=b"the plan")
    task = submit(acme, f"cat '{file.path}.txt'; test -e '{file.path}' && echo both")
    put(task, file)
    linked = give(host, task)
    eventually(lambda: fresh(task).finished_at, "the turn ended")
    assert fresh(task).result_text.strip() == "the planboth"
    assert (linked.folder / file.path).read_bytes() == b"%PDF-"
    row = InboxFile.objects.using("operator").get()
    assert (row.error, row.placed_at is not None) == ("", True)


def test_what_is_there_already_stays_and_is_no_error(host, acme, chat):
    file = kept(chat, "a.txt", b"new")
    first = submit(acme, "true")
    put(first, file)
    linked = give(host, first)
    eventually(lambda: fresh(first).finished_at, "the turn ended")
    (linked.folder / file.path).write_bytes(b"worked on")
    InboxFile.objects.using("operator").update(placed_at=None)
    second = submit(acme, f"cat {file.path}", workspace_id=first.workspace_id)
    Task.objects.using("operator").filter(id=second.id).update(sandbox_id=linked.id, status="starting")
    Sandbox.objects.filter(id=linked.id).update(task_id=second.id, state=SandboxState.BUSY)
    nudge("gateway", str(linked.id))
    eventually(lambda: fresh(second).finished_at, "the turn ended")
    assert fresh(second).result_text == "worked on"


def test_a_follow_up_comes_after_its_files(host, acme, chat):
    file = kept(chat, "late.txt", b"late")
    task = submit(acme, f"for i in $(seq 200); do [ -e {file.path} ] && echo here && exit; sleep 0.1; done")
    give(host, task)
    eventually(lambda: fresh(task).status == TaskStatus.RUNNING, "the turn runs")
    put(task, file)
    send_message(acme.owner, task.id, "true")
    eventually(lambda: fresh(task).finished_at, "the turn ended")
    assert fresh(task).result_text.strip() == "here"


def test_a_file_that_is_not_kept_any_more_is_told_and_the_turn_begins(host, acme, chat):
    file = kept(chat, "gone.txt", b"x")
    storage().delete(file.key)
    task = submit(acme, "cat <<END")
    put(task, file)
    give(host, task)
    eventually(lambda: fresh(task).finished_at, "the turn ended")
    assert (
        f"[{file.path} could not be put into the workspace: The file is not kept" in fresh(task).result_text
    )
    assert InboxFile.objects.using("operator").get().error == "The file is not kept any more."


async def test_what_can_never_be_written_is_recorded_and_the_rest_goes_on(monkeypatch):
    due = [inbox_due("a"), inbox_due("b")]
    noted: list[tuple[uuid.UUID, str]] = []
    monkeypatch.setattr(inbox, "list_due", lambda org_id, task_id: due)
    monkeypatch.setattr(inbox, "note_placed", lambda org_id, row_id, error="": noted.append((row_id, error)))
    monkeypatch.setattr(inbox, "_read", lambda key: b"x")

    async def write_new(sandbox_id: uuid.UUID, path: str, content: bytes) -> None:
        if path == "a":
            raise VolumeFull("There is no room.")

    monkeypatch.setattr(inbox.FILES, "write_new", write_new)
    told = await inbox.fill_inbox(uuid.uuid4(), uuid.uuid4(), uuid.uuid4())
    assert told == ["[a could not be put into the workspace: There is no room.]"]
    assert noted == [(due[0].id, "There is no room."), (due[1].id, "")]


async def test_a_sandbox_that_is_away_is_tried_again(monkeypatch):
    monkeypatch.setattr(inbox, "list_due", lambda org_id, task_id: [inbox_due("a")])
    monkeypatch.setattr(inbox, "_read", lambda key: b"x")

    async def write_new(sandbox_id: uuid.UUID, path: str, content: bytes) -> None:
        raise SandboxUnreachable("The sandbox broke off.")

    monkeypatch.setattr(inbox.FILES, "write_new", write_new)
    with pytest.raises(SandboxUnreachable):
        await inbox.fill_inbox(uuid.uuid4(), uuid.uuid4(), uuid.uuid4())


def inbox_due(path: str) -> Due:
    return Due(uuid.uuid4(), (Part(path, "key"),))
