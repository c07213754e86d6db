"""Files of mails: into the workspace of a real runner and out of it, within limits, and as a person saw them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from conftest import Tenant
from services.adapters.mailbox import imap
from services.domain.agents.actions import AgentFields, create_agent
from services.domain.approvals.actions import decide_approval
from services.domain.approvals.models import HeldCall
from services.domain.approvals.queries import show_subject
from services.domain.plane.models import Sandbox
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.environment import environment
from services.mcp_gateway.sandbox_files import FILES
from tests.fakes.gmail_server import GmailServer
from tests.fakes.linked_sandbox import LinkedHost, LinkedSandbox, linked_host
from tests.fakes.mail_server import MailServer
from tests.gateway.account_cast import (
    allow,
    connect_gmail,
    connect_mail,
    mail_server,
    make_impatient,
    use_google,
)
from tests.gateway.serving import Caller, approval_of, at_work, eventually

LETTER = {"to": ["ann@example.com"], "subject": "The report", "body": "Here it is."}


@dataclass
class Place:
    """A mailbox at one kind of server, in the words of that server's tools."""

    kind: str
    server: MailServer | GmailServer

    def receive(self, mime: EmailMessage) -> dict[str, Any]:
        """Let a mail arrive; returns how the tools name it."""
        if isinstance(self.server, MailServer):
            return {"uid": self.server.receive(mime)}
        return {"message_id": self.server.receive(mime).id}

    def sent(self) -> list[EmailMessage]:
        """Return what went out."""
        return self._kept("SENT")

    def drafts(self) -> list[EmailMessage]:
        """Return the drafts."""
        return self._kept("DRAFT")

    def _kept(self, label: str) -> list[EmailMessage]:
        if isinstance(self.server, GmailServer):
            return [mail.mime for mail in self.server.mails.values() if label in mail.labels]
        if label == "SENT":
            raws = [content for _, _, content in self.server.sent]
        else:
            raws = [stored.content for stored in self.server.folders["Entw&APw-rfe"][1]]
        return [message_from_bytes(raw, policy=policy.default) for raw in raws]


@pytest.fixture
def host(database: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[LinkedHost]:
    with linked_host(monkeypatch) as running:
        yield running


@pytest.fixture(params=["mail", "gmail"])
def place(request: pytest.FixtureRequest, acme: Tenant, monkeypatch, tmp_path: Path) -> Iterator[Place]:
    """Run a mailbox that alice has connected."""
    make_impatient(monkeypatch)
    with contextlib.ExitStack() as stack:
        server: MailServer | GmailServer
        if request.param == "mail":
            server = stack.enter_context(mail_server(monkeypatch, tmp_path))
            connect_mail(acme, server)
        else:
            server = stack.enter_context(GmailServer())
            use_google(monkeypatch, server)
            connect_gmail(acme)
        yield Place(request.param, server)


@dataclass
class Agent:
    """An agent at work in a linked sandbox, which calls its mailbox's tools without the kind before their names."""

    caller: Caller
    kind: str
    sandbox: LinkedSandbox

    def __call__(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return self.caller(f"{self.kind}_{tool}", **arguments)

    def refused(self, tool: str, **arguments: Any) -> str:
        """Call a tool that must refuse; returns its words."""
        return self.caller.refused(f"{self.kind}_{tool}", **arguments)

    def write(self, path: str, content: bytes) -> None:
        """Put a file into the workspace."""
        file = self.sandbox.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def has(self) -> dict[str, bytes]:
        """Return the files of the workspace."""
        found = (path for path in self.sandbox.folder.rglob("*") if path.is_file() and not path.is_symlink())
        return {str(path.relative_to(self.sandbox.folder)): path.read_bytes() for path in found}


@pytest.fixture
def agent(host: LinkedHost, acme: Tenant, place: Place) -> Agent:
    """Put an agent to work, in a sandbox with a real runner."""
    made = create_agent(acme.owner, AgentFields(name="Post", mcp_servers=[place.kind]))
    working = at_work(acme, made)
    Sandbox.objects.all().delete()
    linked = host.link(working.task.workspace)
    Task.objects.using("operator").filter(id=working.task.id).update(sandbox_id=linked.id)
    return Agent(Caller(host.url, working, place.kind), place.kind, linked)


def mail_with(*files: tuple[str, bytes]) -> EmailMessage:
    mime = EmailMessage()
    mime["From"], mime["To"], mime["Subject"] = "ann@example.com", "alice@mail.example", "Papers"
    mime.set_content("See below.")
    for name, content in files:
        mime.add_attachment(content, maintype="application", subtype="pdf", filename=name)
    return mime


def files_of(message: EmailMessage) -> list[tuple[str | None, str, bytes]]:
    return [
        (part.get_filename(), part.get_content_type(), part.get_payload(decode=True))  # type: ignore[misc]
        for part in message.iter_attachments()
    ]


def test_a_file_of_a_mail_is_saved_in_the_workspace_under_a_clean_name_of_its_own(agent, place):
    mail = place.receive(mail_with(("small.pdf", b"%PDF"), ("../../Grüße\u202e März.pdf", b"%PDF-1.7 long")))
    read = agent("read_message", **mail)
    assert [each["number"] for each in read["attachments"]] == [1, 2]
    saved = agent("save_attachment", **mail, attachment=2)
    assert saved == {
        "path": "attachments/Grüße März.pdf",
        "name": "Grüße März.pdf",
        "mime_type": "application/pdf",
        "size_bytes": 13,
    }
    assert agent("save_attachment", **mail, attachment=2)["path"] == "attachments/Grüße März-2.pdf"
    agent("save_attachment", **mail, attachment=1, path="/workspace/in/first.pdf")
    assert agent.has() == {
        "attachments/Grüße März.pdf": b"%PDF-1.7 long",
        "attachments/Grüße März-2.pdf": b"%PDF-1.7 long",
        "in/first.pdf": b"%PDF",
    }
    assert agent.refused("save_attachment", **mail, attachment=3).startswith("item_not_found:")


def test_a_file_is_saved_nowhere_else_and_replaces_nothing(agent, place, tmp_path):
    mail = place.receive(mail_with(("a.pdf", b"theirs")))
    agent.write("mine.pdf", b"mine")
    outside = tmp_path / "outside"
    outside.mkdir()
    (agent.sandbox.folder / "leak").symlink_to(outside)
    (agent.sandbox.folder / "attachments").symlink_to(outside)
    for path in ("../a.pdf", "/etc/a.pdf", "leak/a.pdf", "a/../../b", ".", None):
        words = agent.refused("save_attachment", **mail, attachment=1, path=path)
        assert words.partition(":")[0] in ("path_invalid", "not_a_folder"), (path, words)
    assert agent.refused("save_attachment", **mail, attachment=1, path="mine.pdf").startswith("file_exists:")
    assert agent.has() == {"mine.pdf": b"mine"}
    assert list(outside.iterdir()) == []


def test_a_file_beyond_the_limit_is_not_saved(agent, place, monkeypatch):
    monkeypatch.setattr(environment(), "max_attachment_bytes", 1_000)
    mail = place.receive(mail_with(("fits.pdf", b"x" * 1_000), ("large.pdf", b"x" * 1_001)))
    assert agent("save_attachment", **mail, attachment=1)["size_bytes"] == 1_000
    assert agent.refused("save_attachment", **mail, attachment=2).startswith("file_too_large:")
    assert list(agent.has()) == ["attachments/fits.pdf"]


@pytest.mark.parametrize("place", ["mail"], indirect=True)
def test_of_a_mail_that_is_cut_only_whole_files_are_saved(agent, place, monkeypatch):
    monkeypatch.setattr(environment(), "max_attachment_bytes", 10_000)
    monkeypatch.setattr(imap, "MAX_MAIL_BYTES", 1_000)
    mail = place.receive(mail_with(("whole.pdf", b"a" * 9_000), ("cut.pdf", b"b" * 9_000)))
    assert agent("save_attachment", **mail, attachment=1)["size_bytes"] == 9_000
    words = agent.refused("save_attachment", **mail, attachment=2)
    assert words.startswith("file_too_large: The attachment is too large, or lies too deep")
    assert agent.has() == {"attachments/whole.pdf": b"a" * 9_000}


def test_files_of_the_workspace_go_with_a_mail_and_with_a_draft(agent, place, acme):
    allow(acme, f"{place.kind}.*")
    agent.write("out/Über sicht.csv", b"a;b\n\xff")
    agent.write("data.tar.gz", b"\x1f\x8b")
    agent.write("old.eml", b"From: x\n\nHello")
    agent.write("empty", b"")
    paths = ["out/Über sicht.csv", "/workspace/data.tar.gz", "old.eml", "empty"]
    expected = [
        ("Über sicht.csv", "text/csv", b"a;b\n\xff"),
        ("data.tar.gz", "application/gzip", b"\x1f\x8b"),
        ("old.eml", "application/octet-stream", b"From: x\n\nHello"),
        ("empty", "application/octet-stream", b""),
    ]
    agent("send", **LETTER, attachments=paths)
    agent("create_draft", **LETTER, attachments=paths)
    for (message,) in (place.sent(), place.drafts()):
        assert files_of(message) == expected
        assert message.get_body().get_content().strip() == "Here it is."


def test_no_other_file_goes_out_and_not_too_much(agent, place, acme, monkeypatch):
    allow(acme, f"{place.kind}.*")
    monkeypatch.setattr(environment(), "max_attachment_bytes", 1_000)
    agent.write("a", b"x" * 600)
    agent.write("folder/b", b"x" * 401)
    (agent.sandbox.folder / "leak").symlink_to("/etc/passwd")
    codes = ("path_invalid", "file_missing", "is_a_folder")
    for path in ("leak", "../../etc/passwd", "/etc/passwd", "folder", "nothing"):
        words = agent.refused("create_draft", **LETTER, attachments=["a", path])
        assert words.partition(":")[0] in codes, (path, words)
    words = agent.refused("send", **LETTER, attachments=["a", "folder/b"])
    assert words.startswith("file_too_large: folder/b: the files may have 1000 bytes in all.")
    assert agent.refused("send", **LETTER, attachments=["a"] * 11).startswith("invalid: attachments:")
    assert (place.sent(), place.drafts()) == ([], [])


def test_who_must_allow_a_mail_sees_its_files_and_these_go_out(agent, place, acme):
    agent.write("report.pdf", b"%PDF good")
    words = agent.refused("send", **LETTER, attachments=["report.pdf"])
    assert words.startswith("approval_pending:")
    approval = approval_of(acme)
    (file,) = approval.subject["files"]
    assert (file["path"], file["name"], file["size_bytes"], len(file["sha256"])) == (
        "report.pdf", "report.pdf", 9, 64,
    )  # fmt: skip
    assert f"{place.kind}_send with report.pdf (9 bytes)" in show_subject(approval)
    decide_approval(acme.owner, approval.id, "allow")
    (message,) = eventually(place.sent)
    assert files_of(message) == [("report.pdf", "application/pdf", b"%PDF good")]


def test_a_file_that_changed_since_a_person_was_asked_does_not_go_out(agent, place, acme):
    agent.write("report.pdf", b"harmless")
    agent.refused("send", **LETTER, attachments=["report.pdf"])
    first = approval_of(acme)
    agent.write("report.pdf", b"secrets")
    decide_approval(acme.owner, first.id, "allow")
    # The same letter with other content is another question, which nobody has answered yet.
    assert agent.refused("send", **LETTER, attachments=["report.pdf"]).startswith("approval_pending:")
    second = approval_of(acme)
    assert second.id != first.id

    def result() -> Any:
        with tenant_transaction(acme.organisation.id):
            return HeldCall.objects.get(approval=first).result

    assert eventually(result)["content"][0]["text"].startswith("file_changed: report.pdf is not what it was")
    assert place.sent() == []
    decide_approval(acme.owner, second.id, "allow")
    (message,) = eventually(place.sent)
    assert files_of(message)[0][2] == b"secrets"


@pytest.mark.parametrize("place", ["mail"], indirect=True)
def test_an_allowed_mail_with_files_waits_for_the_host_of_its_sandbox(agent, place, acme, monkeypatch):
    agent.write("report.pdf", b"%PDF")
    agent.refused("send", **LETTER, attachments=["report.pdf"])
    looks: list[Any] = []
    with monkeypatch.context() as away:
        away.setattr(type(FILES), "reaches", lambda self, sandbox_id: bool(looks.append(sandbox_id)))
        decide_approval(acme.owner, approval_of(acme).id, "allow")
        eventually(lambda: len(looks) > 3, within_s=15)
        assert set(looks) == {agent.sandbox.id}
        assert place.sent() == []
    assert len(eventually(place.sent)) == 1
