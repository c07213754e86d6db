"""Files of the workspace in chats: out of a real runner, once, within the limits, and no other file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from conftest import Tenant
from services.domain.approvals.actions import decide_approval
from services.domain.approvals.models import HeldCall
from services.domain.approvals.rule_actions import create_rule
from services.domain.approvals.rules import RuleFields
from services.domain.chats.models import Delivery
from services.domain.plane.models import Sandbox
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.environment import environment
from services.mcp_gateway.mcp_servers.chat import files
from services.worker.jobs.volumes import storage
from tests.fakes.chat_places import ChatPlace, chat_place, deliver_to, drain
from tests.fakes.linked_sandbox import LinkedHost, linked_host
from tests.gateway.serving import Caller, Working, approval_of, at_work, eventually


@pytest.fixture
def host(database: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[LinkedHost]:
    with linked_host(monkeypatch) as running:
        yield running


@pytest.fixture(params=["telegram", "slack"])
def place(request: pytest.FixtureRequest, acme: Tenant, monkeypatch) -> Iterator[ChatPlace]:
    with chat_place(request.param, acme, monkeypatch) as running:
        yield running


@pytest.fixture
def working(acme: Tenant, claude, place: ChatPlace) -> Working:
    return at_work(acme, claude, deliver_to=deliver_to(place))


@pytest.fixture
def sandbox(host: LinkedHost, working: Working):
    """Link a runner for the task's workspace, and let the task be at work in its sandbox."""
    Sandbox.objects.all().delete()
    linked = host.link(working.task.workspace)
    Task.objects.using("operator").filter(id=working.task.id).update(sandbox_id=linked.id)
    return linked


@pytest.fixture
def chat(host: LinkedHost, sandbox, working: Working) -> Caller:
    return Caller(host.url, working, "chat")


def test_a_file_of_the_workspace_arrives_once_with_its_caption(chat, place, sandbox):
    (sandbox.folder / "out").mkdir()
    (sandbox.folder / "out" / "report.csv").write_bytes(b"a,b\n1,2\n")
    given = chat("send_file", path="out/report.csv", caption="The **report**")
    assert (given["state"], given["is_repeat"]) == ("queued", False)
    assert chat("send_file", path="/workspace/out/report.csv", caption="The **report**")["is_repeat"] is True
    drain()
    ((name, data, caption),) = place.files()
    assert (name, data) == ("report.csv", b"a,b\n1,2\n")
    assert caption.replace("*", "") == "The report"
    row = Delivery.objects.using("operator").get()
    assert row.status == "sent"
    assert not storage().exists(row.payload["key"])
    (sandbox.folder / "out" / "report.csv").write_bytes(b"a,b\n3,4\n")
    assert chat("send_file", path="out/report.csv", caption="The **report**")["is_repeat"] is False
    chat("delete_message", message_id=given["message_id"])
    drain()
    assert place.deleted() == 1


def test_no_other_file_can_be_sent(chat, place, sandbox):
    (sandbox.folder / "leak").symlink_to("/etc/passwd")
    (sandbox.folder / "folder").mkdir()
    (sandbox.folder / "empty").write_bytes(b"")
    codes = ("path_invalid", "file_missing", "is_a_folder", "invalid")
    for path in ("leak", "../../etc/passwd", "/etc/passwd", "folder", "nothing", "empty", "."):
        words = chat.refused("send_file", path=path)
        assert words.partition(":")[0] in codes, (path, words)
    drain()
    assert place.files() == []
    assert Delivery.objects.using("operator").count() == 0


def test_a_file_beyond_the_platforms_limit_is_refused_before_it_is_read(chat, sandbox, monkeypatch):
    (sandbox.folder / "big").write_bytes(b"x" * 1_001)
    plan = files._plan
    monkeypatch.setattr(files, "_plan", lambda caller, given: files._Plan(1_000, plan(caller, given).caption))
    assert chat.refused("send_file", path="big").startswith(
        "file_too_large: big: the files may have 1000 bytes"
    )


def test_of_a_held_call_only_the_file_that_people_saw_goes_out(chat, place, sandbox, acme, monkeypatch):
    monkeypatch.setattr(environment(), "mcp_hold_wait_s", 0.3)
    create_rule(acme.owner, RuleFields.model_validate({"effect": "hold", "tool": "chat.send_file"}))
    path = sandbox.folder / "report.csv"
    path.write_bytes(b"harmless")
    assert chat.refused("send_file", path="report.csv").startswith("approval_pending:")
    first = approval_of(acme)
    (shown,) = first.subject["files"]
    assert (shown["path"], shown["size_bytes"]) == ("report.csv", 8)
    path.write_bytes(b"secrets!")
    decide_approval(acme.owner, first.id, "allow")

    def result() -> Any:
        with tenant_transaction(acme.organisation.id):
            return HeldCall.objects.get(approval=first).result

    assert eventually(result)["content"][0]["text"].startswith("file_changed: report.csv is not what it was")
    assert chat.refused("send_file", path="report.csv").startswith("approval_pending:")
    decide_approval(acme.owner, approval_of(acme).id, "allow")
    assert eventually(lambda: Delivery.objects.using("operator").filter(kind="file").count()) == 1
    drain()
    ((name, data, _),) = place.files()
    assert (name, data) == ("report.csv", b"secrets!")


def test_a_caption_that_does_not_fit_is_refused(chat, sandbox, place):
    (sandbox.folder / "a").write_bytes(b"x")
    if place.kind == "telegram":
        assert chat.refused("send_file", path="a", caption="<" * 1_000).startswith("invalid:")
