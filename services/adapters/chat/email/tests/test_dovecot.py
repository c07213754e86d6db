"""The adapter and Dovecot: the IMAP server that most mailboxes lie behind. Mail goes out by the local server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.adapters.chat.email.adapter import EmailAdapter
from services.adapters.chat.email.tests.conformance import CONFIG, PERSON, letter
from services.adapters.chat.tests.memory_inbox import MemoryInbox, listened, listening
from services.domain.ports.chat import Place
from tests.fakes.dovecot import Dovecot
from tests.fakes.mail_server import MailServer

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a mail server begins as root")


@pytest.fixture
def smtp(tmp_path: Path) -> Iterator[MailServer]:
    with MailServer(tmp_path, 0, CONFIG.smtp_port) as server:
        yield server


@pytest.fixture
def dovecot(
    smtp: MailServer, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Dovecot]:
    folder = tmp_path_factory.mktemp("dovecot")
    # The server's own users must reach its folder.
    for path in (folder, *list(folder.parents)[:2]):
        path.chmod(0o755)
    with Dovecot(folder, CONFIG.imap_port) as server:
        both = folder / "both.pem"
        both.write_bytes(server.authority.path.read_bytes() + smtp.authority.path.read_bytes())
        monkeypatch.setenv("SSL_CERT_FILE", str(both))
        yield server


def test_mail_is_heard_by_idle_answered_in_its_thread_and_found_again(
    dovecot: Dovecot, smtp: MailServer
) -> None:
    adapter = EmailAdapter("localhost")
    assert adapter.connect(CONFIG, "").platform_id == CONFIG.bot_id
    first = MemoryInbox()
    listened(adapter, CONFIG, first, lambda: bool(first.state))
    inbox = MemoryInbox(first.state)
    with listening(adapter, CONFIG, inbox) as listener:
        mime = letter("What is the weather?", subject="Weather", Message_ID="<first@x>")
        mime.add_attachment(b"a,b", maintype="text", subtype="csv", filename="täble.csv")
        dovecot.receive(mime.as_bytes())
        inbox.wait_for_messages(1)
        answer = letter("And now?", subject="Re: Weather", References="<first@x>", Message_ID="<second@x>")
        dovecot.receive(answer.as_bytes())
        inbox.wait_for_messages(2)
    assert listener.error is None
    one, two = inbox.messages()
    assert (one.place, two.place) == (Place(PERSON, "first@x"), Place(PERSON, "first@x"))
    assert two.text == "And now?"
    assert adapter.fetch_file(CONFIG, one.files[0].ref, 10) == b"a,b"

    receipt = adapter.send_with_key(CONFIG, two.place, "It <strong>rains</strong>.", "key-1")
    assert b"In-Reply-To: <second@x>" in smtp.sent[0][2]
    assert b"Subject: Re: Weather" in smtp.sent[0][2]
    assert adapter.find_sent(CONFIG, two.place, "key-1") == receipt
    assert adapter.find_sent(CONFIG, two.place, "key-2") is None

    reply_to = next(line for line in smtp.sent[0][2].splitlines() if line.startswith(b"Reply-To:"))
    dovecot.receive(letter("Thanks", To=reply_to.decode().partition(" ")[2]).as_bytes())
    again = MemoryInbox(inbox.state)
    listened(adapter, CONFIG, again, lambda: len(again.messages()) == 1)
    assert again.messages()[0].place == two.place
