"""E-mail in the conformance suite."""

from __future__ import annotations

import os
import random
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from email.utils import formatdate
from pathlib import Path

from pydantic import SecretStr

from services.adapters.chat.email.config import EmailConfig
from services.adapters.chat.tests.case import Incoming
from services.adapters.chat.tests.html_check import shown_text
from services.domain.ports.chat import Place
from tests.fakes.mail_server import PASSWORD, USER, MailServer
from tests.fakes.serving import Fault

ADDRESS, PERSON, AUTHSERV = "agent@mail.example", "alice@example.org", "mx.mail.example"
PASSED = f"{AUTHSERV}; dkim=pass header.d=example.org; dmarc=pass (p=reject) header.from=example.org"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


CONFIG = EmailConfig(
    address=ADDRESS,
    display_name="Agent Ä",
    imap_host="localhost",
    imap_port=_free_port(),
    smtp_host="localhost",
    smtp_port=_free_port(),
    user=USER,
    password=SecretStr(PASSWORD),
    authserv_id=AUTHSERV,
    bot_id=ADDRESS,
    bot_name="Agent Ä",
)


def letter(text: str, *, sender: str = PERSON, subject: str = "", **headers: str) -> EmailMessage:
    """Write a mail as a person's client and the receiving server make it; `headers` are added, or take others away."""
    mime = EmailMessage()
    given = {
        "Authentication-Results": PASSED,
        "From": f"Alice <{sender}>",
        "To": ADDRESS,
        "Subject": subject,
        "Date": formatdate(),
        "Message-ID": f"<{time.monotonic_ns()}.x@example.org>",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    mime.set_content(text)
    for name, value in given.items():
        del mime[name]
        if value:
            mime[name] = value
    return mime


@contextmanager
def serving() -> Iterator[MailServer]:
    """Run the mail servers of CONFIG, whose authority this process trusts meanwhile."""
    before = os.environ.get("SSL_CERT_FILE")
    with (
        tempfile.TemporaryDirectory() as folder,
        MailServer(Path(folder), CONFIG.imap_port, CONFIG.smtp_port) as server,
    ):
        os.environ["SSL_CERT_FILE"] = str(server.authority.path)
        try:
            yield server
        finally:
            os.environ.pop("SSL_CERT_FILE")
            if before is not None:
                os.environ["SSL_CERT_FILE"] = before


def sent_mails(server: MailServer) -> list[EmailMessage]:
    """Read what was sent as a receiver does."""
    return [message_from_bytes(content, policy=default) for _, _, content in server.sent]


class _Platform:
    def __init__(self, server: MailServer) -> None:
        self.server = server

    def base_url(self) -> str:
        return "localhost"

    def fail_next(self, how: str, retry_after_s: int = 1) -> None:
        self.server.faults.plan(Fault(how, retry_after_s=retry_after_s, method="smtp"))

    def fail_listening(self, how: str) -> None:
        self.server.faults.plan(Fault(how, method="imap"))

    def sent_texts(self) -> list[str]:
        found = []
        for mail in sent_mails(self.server):
            body = mail.get_body(("plain",))
            assert body is not None
            assert mail.get_body(("html",)) is not None
            found.append(str(body.get_content()).replace("\r\n", "\n").rstrip("\n"))
        return found

    def sent_files(self) -> list[tuple[str, bytes]]:
        return [
            (str(part.get_filename()), part.get_payload(decode=True))  # type: ignore[misc]
            for mail in sent_mails(self.server)
            for part in mail.iter_attachments()
        ]

    def receive(self, what: Incoming) -> None:
        match what:
            case Incoming.DIRECT:
                self.server.receive(letter("What is the weather?"))
            case Incoming.OWN:
                self.server.receive(letter("It rains.", sender=ADDRESS))
            case Incoming.UNKNOWN:
                self.server.receive(letter("", subject=""))
            case Incoming.UNSTORABLE:
                raw = letter("What? is the weather?").as_bytes().replace(b"What?", b"What\x00\xed\xa0\x80")
                self.server.receive_bytes(raw)

    def receive_garbage(self, dice: random.Random) -> None:
        mime = letter("Hello\n\n> quoted\n", subject="=?utf-8?q?w=C3=B6rds?=", References="<a@b> <c@d>")
        mime.add_attachment(b"a,b", maintype="text", subtype="csv", filename="täble.csv")
        raw = bytearray(mime.as_bytes())
        for _ in range(dice.randint(1, 6)):
            at = dice.randrange(len(raw))
            match dice.randrange(4):
                case 0:
                    raw[at] = dice.randrange(256)
                case 1:
                    del raw[at : at + dice.randrange(1, 60)]
                case 2:
                    raw[at:at] = dice.choice(
                        [b"\n", b"\n\n", b"\0", b"\xff\xfe", b"=?x?q?=", b";;", b"<", b'"']
                    )
                case 3:
                    raw[at:at] = raw[at : at + dice.randrange(1, 300)]
        self.server.receive_bytes(bytes(raw))


class _Case:
    config = CONFIG
    wrong_config = CONFIG.model_copy(update={"password": SecretStr("wrong")})
    place = Place(PERSON)

    def measure(self, part: str) -> int:
        return len(part)

    def check_markup(self, part: str) -> str:
        return shown_text(part)

    @contextmanager
    def running(self) -> Iterator[_Platform]:
        with serving() as server:
            yield _Platform(server)


CASE = _Case()
