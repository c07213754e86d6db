"""A mailbox behind IMAP and SMTP over TLS, strict about what it is sent."""

from __future__ import annotations

import base64
import re
import select
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from pathlib import Path
from typing import Any, ClassVar

from tests.fakes.certificates import Authority
from tests.fakes.serving import Fault, Faults

USER, PASSWORD, ADDRESS = "alice", "an app-password ä", "alice@mail.example"
_TOKEN = re.compile(rb'"((?:[^"\\\r\n]|\\["\\])*)"|([^\s"]+)')


@dataclass
class Stored:
    """A mail in a folder."""

    uid: int
    content: bytes
    flags: set[str] = field(default_factory=set)


class MailServer:
    """One mailbox. `commands` is what the IMAP side was told, `sent` what the SMTP side took: (from, to, bytes).

    `faults` are of the methods `imap`, met when signing in, and `smtp`, met when a mail is begun.
    """

    def __init__(self, folder: Path, imap_port: int = 0, smtp_port: int = 0) -> None:
        self.authority = Authority(folder, "authority of mail")
        self.tls = self.authority.server()
        self.folders: dict[str, tuple[str, list[Stored]]] = {
            "INBOX": ("", []),
            "Entw&APw-rfe": (r"\Drafts", []),
            "Sent": (r"\Sent", []),
            "Projects": (r"\Noselect", []),
        }
        self.commands: list[str] = []
        self.sent: list[tuple[str, list[str], bytes]] = []
        self.answers: dict[str, str] = {}
        self.faults = Faults()
        self.validity, self.has_idle = 7, True
        self._uids = iter(range(11, 10_000, 3))
        self._imap = _Server(self, _Imap, imap_port)
        self._smtp = _Server(self, _Smtp, smtp_port)
        self.imap_port, self.smtp_port = self._imap.port, self._smtp.port

    def receive(self, mime: EmailMessage, folder: str = "INBOX", *flags: str) -> int:
        """Put a mail into a folder, and return its uid."""
        return self.receive_bytes(mime.as_bytes(), folder, *flags)

    def receive_bytes(self, content: bytes, folder: str = "INBOX", *flags: str) -> int:
        """Put a mail into a folder as it came over the wire, and return its uid."""
        stored = Stored(next(self._uids), content, set(flags))
        self.folders[folder][1].append(stored)
        return stored.uid

    def make_anew(self) -> None:
        """Number all mails of the inbox anew, as a server does that lost its index."""
        self.validity += 1
        for number, mail in enumerate(self.folders["INBOX"][1], start=1):
            mail.uid = number
        self._uids = iter(range(1_000, 10_000))

    def receive_text(self, sender: str, subject: str, text: str) -> int:
        """Let a plain mail arrive."""
        mime = EmailMessage()
        mime["From"], mime["To"], mime["Subject"] = sender, ADDRESS, subject
        mime["Date"], mime["Message-ID"] = (
            "Wed, 01 Jul 2026 10:00:00 +0000",
            f"<{len(subject)}.{subject.split()[0]}@x>",
        )
        mime.set_content(text)
        return self.receive(mime)

    def __enter__(self) -> MailServer:
        for server in (self._imap, self._smtp):
            server.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self._imap, self._smtp):
            server.shutdown()
            server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, mailbox: MailServer, handler: Any, port: int) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self.mailbox = mailbox
        self.port = int(self.server_address[1])

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, daemon=True, args=(0.05,)).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that breaks off is no matter of the test."""


class _Conversation(socketserver.StreamRequestHandler):
    greeting: ClassVar[str]

    def setup(self) -> None:
        self.mailbox: MailServer = self.server.mailbox  # type: ignore[attr-defined]
        self.request = self.mailbox.tls.wrap_socket(
            self.request, server_side=True, do_handshake_on_connect=False
        )
        try:
            self.request.do_handshake()
        except OSError:
            self.request.close()
            raise
        super().setup()

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.request.close()

    def handle(self) -> None:
        try:
            self.say(self.greeting)
            while line := self.rfile.readline(20_000):
                assert line.endswith(b"\r\n")
                if not self.take(line[:-2]):
                    return
        except (OSError, ssl.SSLError):
            return

    def say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")

    def take(self, line: bytes) -> bool:
        raise NotImplementedError


def _tokens(line: bytes) -> list[str]:
    return [
        re.sub(r"\\(.)", r"\1", quoted.decode()) if quoted or not plain else plain.decode()
        for quoted, plain in _TOKEN.findall(line)
    ]


class _Imap(_Conversation):
    greeting = "* OK ready"

    def setup(self) -> None:
        super().setup()
        self.is_in, self.selected, self.is_readonly = False, "", True
        self.told = 0

    def take(self, line: bytes) -> bool:
        literals: list[bytes] = []
        while match := re.search(rb"\{(\d+)\}$", line):
            self.say("+ go on")
            literals.append(self.rfile.read(int(match[1])))
            line = line[: match.start()] + b'"literal"' + self.rfile.readline(20_000)[:-2]
        tag, _, rest = line.partition(b" ")
        self.mailbox.commands.append(rest.decode("utf-8", "replace"))
        words = _tokens(rest)
        name = " ".join(words[:2]).upper() if words[0].upper() == "UID" else words[0].upper()
        arguments = words[2:] if name.startswith("UID") else words[1:]
        if name in self.mailbox.answers:
            self.say(f"{tag.decode()} {self.mailbox.answers[name]}")
            return True
        if name not in ("CAPABILITY", "AUTHENTICATE", "LOGOUT") and not self.is_in:
            self.say(f"{tag.decode()} NO sign in first")
            return True
        answer = getattr(self, f"_{name.lower().replace(' ', '_')}")(arguments, literals)
        self._tell()
        self.say(f"{tag.decode()} {answer}")
        return name != "LOGOUT"

    def _capability(self, arguments: list[str], literals: list[bytes]) -> str:
        idle = " IDLE" if self.mailbox.has_idle else ""
        self.say(f"* CAPABILITY IMAP4rev1 AUTH=PLAIN UIDPLUS SPECIAL-USE{idle}")
        return "OK done"

    def _idle(self, arguments: list[str], literals: list[bytes]) -> str:
        assert self.selected
        self.say("+ idling")
        while True:
            self._tell()
            if self.request.pending() or select.select([self.request], [], [], 0.02)[0]:
                line = self.rfile.readline(20_000)
                assert line in (b"DONE\r\n", b""), line
                return "OK idled"

    def _authenticate(self, arguments: list[str], literals: list[bytes]) -> str:
        assert arguments == ["PLAIN"]
        self.say("+ ")
        given = base64.b64decode(self.rfile.readline(2_000)).decode().split("\0")
        fault = self.mailbox.faults.take("imap")
        if fault is not None:
            return _imap_failure(fault)
        self.is_in = given[1:] == [USER, PASSWORD]
        return "OK in" if self.is_in else "NO [AUTHENTICATIONFAILED] wrong"

    def _logout(self, arguments: list[str], literals: list[bytes]) -> str:
        self.say("* BYE see you")
        return "OK out"

    def _tell(self) -> None:
        """Tell how many mails there are where that has changed, once."""
        if self.selected and len(self._mails) != self.told:
            self.told = len(self._mails)
            self.say(f"* {self.told} EXISTS")

    def _list(self, arguments: list[str], literals: list[bytes]) -> str:
        for name, (use, _) in self.mailbox.folders.items():
            self.say(f'* LIST (\\HasNoChildren {use}) "/" "{name}"')
        return "OK listed"

    def _select(self, arguments: list[str], literals: list[bytes]) -> str:
        return self._open(arguments[0], is_readonly=False)

    def _examine(self, arguments: list[str], literals: list[bytes]) -> str:
        return self._open(arguments[0], is_readonly=True)

    def _open(self, name: str, *, is_readonly: bool) -> str:
        if name not in self.mailbox.folders or "Noselect" in self.mailbox.folders[name][0]:
            return "NO no such folder"
        self.selected, self.is_readonly = name, is_readonly
        self.told = len(self._mails)
        self.say(f"* {self.told} EXISTS")
        self.say(f"* OK [UIDVALIDITY {self.mailbox.validity}] valid")
        return "OK open"

    @property
    def _mails(self) -> list[Stored]:
        return self.mailbox.folders[self.selected][1]

    def _uid_search(self, arguments: list[str], literals: list[bytes]) -> str:
        if arguments[:1] == ["CHARSET"]:
            assert arguments[1] == "UTF-8"
            arguments = arguments[2:]
        found = list(self._mails)
        words = iter(
            [literals.pop(0).decode() if word == "literal" and literals else word for word in arguments]
        )
        for word in words:
            wanted = self._criterion(word, words)
            found = [mail for mail in found if wanted(mail)]
        self.say(f"* SEARCH {' '.join(str(mail.uid) for mail in found)}".rstrip())
        return "OK searched"

    def _criterion(self, word: str, words: Iterator[str]) -> Callable[[Stored], bool]:
        """Return what a search key asks of a mail; its values are taken from the words behind it."""
        if word == "ALL":
            return lambda mail: True
        if word == "UNSEEN":
            return lambda mail: "\\Seen" not in mail.flags
        if word == "OR":
            first = self._criterion(next(words), words)
            second = self._criterion(next(words), words)
            return lambda mail: first(mail) or second(mail)
        if word == "UID":
            begin, _, end = next(words).partition(":")
            assert end == "*"
            newest = max((mail.uid for mail in self._mails), default=0)
            return lambda mail: mail.uid >= min(int(begin), newest)
        if word == "HEADER":
            name, needle = next(words), next(words)
            return lambda mail: (
                needle.lower() in str(message_from_bytes(mail.content).get(name, "\0")).lower()
            )
        assert word in ("FROM", "SUBJECT", "TEXT", "SINCE"), word
        needle = next(words)
        return lambda mail: _matches(mail, word, needle)

    def _uid_fetch(self, arguments: list[str], literals: list[bytes]) -> str:
        wanted = {int(uid) for uid in arguments[0].split(",")}
        query = " ".join(arguments[1:])
        assert "BODY[" not in query, "a peek leaves the mail unread"
        for number, mail in enumerate(self._mails, start=1):
            if mail.uid not in wanted:
                continue
            content, part = mail.content, re.search(r"BODY\.PEEK\[\]<0\.(\d+)>", query)
            section = "BODY[]<0>"
            if part:
                content = content[: int(part[1])]
            else:
                section = "BODY[HEADER.FIELDS (X)]"
                content = content.replace(b"\r\n", b"\n").split(b"\n\n")[0] + b"\r\n\r\n"
            facts = f"UID {mail.uid} FLAGS ({' '.join(sorted(mail.flags))}) RFC822.SIZE {len(mail.content)}"
            self.wfile.write(
                f"* {number} FETCH ({facts} {section} {{{len(content)}}}\r\n".encode() + content + b")\r\n"
            )
        return "OK fetched"

    def _uid_store(self, arguments: list[str], literals: list[bytes]) -> str:
        if self.is_readonly:
            return "NO it is open for reading"
        flags = {flag.strip("()") for flag in arguments[2:]}
        for mail in self._mails:
            if mail.uid == int(arguments[0]):
                mail.flags = mail.flags | flags if arguments[1] == "+FLAGS" else mail.flags - flags
        return "OK stored"

    def _append(self, arguments: list[str], literals: list[bytes]) -> str:
        if arguments[0] not in self.mailbox.folders:
            return "NO [TRYCREATE] no such folder"
        stored = Stored(
            next(self.mailbox._uids), literals[0], {word.strip("()") for word in arguments if "\\" in word}
        )
        self.mailbox.folders[arguments[0]][1].append(stored)
        return f"OK [APPENDUID 7 {stored.uid}] kept"


def _imap_failure(fault: Fault) -> str:
    match fault.how:
        case "throttle":
            return "NO [LIMIT] too many connections"
        case "error":
            return "NO [UNAVAILABLE] try later"
        case "forbid":
            return "NO [AUTHENTICATIONFAILED] wrong"
        case "drop":
            raise ConnectionResetError
    raise LookupError(fault.how)


def _smtp_failure(fault: Fault) -> str:
    match fault.how:
        case "throttle":
            return f"450 4.7.1 Too much mail, come back in {fault.retry_after_s} seconds"
        case "error":
            return "421 4.3.2 Closing"
        case "forbid":
            return "550 5.7.1 Not from here"
    raise LookupError(fault.how)


def _matches(mail: Stored, key: str, needle: str) -> bool:
    message = message_from_bytes(mail.content)
    if key == "SINCE":
        assert re.fullmatch(r"\d\d-[A-Z][a-z][a-z]-\d{4}", needle)
        return needle <= "02-Jul-2026"
    body = message.get_payload(decode=True)
    text = body.decode() if isinstance(body, bytes) else ""
    where = {"FROM": str(message["From"]), "SUBJECT": str(message["Subject"])}.get(
        key, f"{message['Subject']} {text}"
    )
    return needle.lower() in where.lower()


class _Smtp(_Conversation):
    greeting = "220 mail.example ESMTP"

    def setup(self) -> None:
        super().setup()
        self.is_in, self.sender, self.recipients = False, "", []  # type: ignore[var-annotated]
        self.breaks_off = False

    def take(self, line: bytes) -> bool:
        text = line.decode()
        name = text.split(" ")[0].split(":")[0].upper()
        if name in self.mailbox.answers:
            self.say(self.mailbox.answers[name])
        elif name == "EHLO":
            self.say("250-mail.example")
            self.say("250 AUTH PLAIN")
        elif name == "AUTH":
            given = base64.b64decode(text.split(" ")[2]).decode().split("\0")
            self.is_in = given[1:] == [USER, PASSWORD]
            self.say("235 in" if self.is_in else "535 wrong")
        elif name == "MAIL" and self.is_in:
            self.sender, fault = _path(text), self.mailbox.faults.take("smtp")
            self.breaks_off = fault is not None and fault.how == "drop"
            self.say("250 ok" if fault is None or self.breaks_off else _smtp_failure(fault))
        elif name == "RCPT" and self.is_in:
            self.recipients.append(_path(text))
            self.say("250 ok")
        elif name == "DATA" and self.recipients:
            self.say("354 go on")
            self.mailbox.sent.append((self.sender, list(self.recipients), self._data()))
            if self.breaks_off:
                return False
            self.say("250 taken")
        elif name in ("QUIT", "RSET"):
            self.say("221 bye" if name == "QUIT" else "250 ok")
            return name != "QUIT"
        else:
            self.say("503 not now")
        return True

    def _data(self) -> bytes:
        lines = []
        while (line := self.rfile.readline(20_000)) != b".\r\n":
            assert line, "the client broke off"
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        return b"".join(lines)


def _path(text: str) -> str:
    match = re.fullmatch(r"(?:MAIL FROM|RCPT TO):<([^<>\s]+)>( SIZE=\d+)?", text, re.IGNORECASE)
    assert match, text
    return match[1]
