"""One conversation with an IMAP server, over a socket that was opened to a checked address. Blocking.

Source: RFC 3501 (IMAP4rev1), RFC 6154 (special-use folders), RFC 4315 (APPENDUID), RFC 2177 (IDLE), RFC 5530 (codes)
"""

from __future__ import annotations

import contextlib
import functools
import imaplib
import re
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

from services.adapters.mailbox.messages import Mail, read_enclosure, read_headers, read_mail
from services.adapters.mailbox.names import Folder, encode_folder, imap_date, quote, read_listed
from services.adapters.mailbox.servers import SILENCE_S
from services.domain.errors import (
    AccountAway,
    AccountRefused,
    AccountThrottled,
    AccountUnauthorised,
    Invalid,
    ItemMissing,
)
from services.kit.letters import Enclosure

MAX_MAIL_BYTES = 4 * 1024**2
MAX_ANSWER_BYTES = MAX_MAIL_BYTES + 1024**2
_HEADERS = "FROM TO CC SUBJECT DATE MESSAGE-ID IN-REPLY-TO REFERENCES REPLY-TO"
_NO_MAIL = "The folder has no such mail. Take uids from mail_search."
_UID = re.compile(rb"\bUID (\d+)")
_SIZE = re.compile(rb"\bRFC822\.SIZE (\d+)")
_FLAGS = re.compile(rb"\bFLAGS \(([^)]*)\)")
_APPENDED = re.compile(rb"APPENDUID \d+ (\d+)")
_CODE = re.compile(r"\[([A-Z]+)[\] ]")
_MAX_LINE_BYTES = 1_000_000
_BUSY_S = 60.0


class _Connection(imaplib.IMAP4):
    """The library's client on a socket that is open already, with answers of a bounded size."""

    def __init__(self, host: str, opened: socket.socket) -> None:
        self._opened = opened
        self.most_bytes = MAX_ANSWER_BYTES
        self._received = bytearray()
        self._received_from: socket.socket | None = None
        super().__init__(host)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return self._opened

    def read(self, size: int) -> bytes:
        """Read a literal. Raises: IMAP4.abort for one that nobody asked for."""
        if size > self.most_bytes:
            raise self.abort(f"a literal of {size} bytes")
        self._receive(lambda received: len(received) >= size)
        return self._take(size)

    def readline(self) -> bytes:
        """Read a line. A timeout takes nothing away, so that reading may go on after it, as the library's own may not.

        Raises: TimeoutError, IMAP4.abort for a line without an end.
        """
        self._receive(lambda received: b"\n" in received or len(received) > _MAX_LINE_BYTES)
        end = self._received.find(b"\n") + 1
        if end > _MAX_LINE_BYTES or (end == 0 and len(self._received) > _MAX_LINE_BYTES):
            raise self.abort("a line without an end")
        return self._take(end or len(self._received))

    def idle(self, is_over: Callable[[], bool], *, look_s: float, longest_s: float) -> None:
        """Wait until the server tells of a change in the folder, or it is over, asked every `look_s` seconds."""
        tag = self._new_tag()
        self.send(tag + b" IDLE\r\n")
        is_changed, ends_at = False, time.monotonic() + longest_s
        while not (line := self.readline()).startswith(b"+"):
            is_changed |= self._is_news(line, tag)
        self.sock.settimeout(look_s)
        try:
            while not is_changed and time.monotonic() < ends_at and not is_over():
                with contextlib.suppress(TimeoutError):
                    is_changed = self._is_news(self.readline(), tag)
        finally:
            self.sock.settimeout(SILENCE_S)
        self.send(b"DONE\r\n")
        while not self.readline().startswith(tag):
            pass

    def _is_news(self, line: bytes, tag: bytes) -> bool:
        """Say whether a line tells of new mail. Raises: IMAP4.abort when the server ends the conversation."""
        if not line or line.upper().startswith((b"* BYE", tag)):
            raise self.abort("the server does not wait with us")
        return b" EXISTS" in line.upper()

    def _receive(self, is_enough: Callable[[bytearray], bool]) -> None:
        # What came before the connection was made safe is not part of what is said on it.
        if self._received_from is not self.sock:
            self._received.clear()
            self._received_from = self.sock
        while not is_enough(self._received):
            piece = self.sock.recv(65_536)
            if not piece:
                return
            self._received += piece

    def _take(self, size: int) -> bytes:
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken


class Mailbox:
    """A mailbox that is signed in to. Its calls raise the errors of accounts."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    @classmethod
    def sign_in(
        cls, host: str, opened: socket.socket, user: str, password: str, starttls: ssl.SSLContext | None
    ) -> Mailbox:
        """Sign in. Raises: AccountUnauthorised, AccountAway."""
        try:
            connection = _Connection(host, opened)
        except (imaplib.IMAP4.error, OSError) as error:
            raise AccountAway("The mail server does not speak IMAP with us.") from error
        try:
            if starttls is not None:
                connection.starttls(starttls)
            if "AUTH=PLAIN" in connection.capabilities:
                connection.authenticate("PLAIN", lambda _: f"\0{user}\0{password}".encode())
            else:
                connection.login(quote(user), password)
        except (imaplib.IMAP4.abort, OSError) as error:
            connection.shutdown()
            raise AccountAway("The mail server broke off, or its certificate is wrong.") from error
        except (imaplib.IMAP4.error, UnicodeError) as error:
            connection.shutdown()
            raise _busy(error) or AccountUnauthorised(
                "The mail server does not take the user name and password."
            ) from error
        return cls(connection)

    def close(self) -> None:
        """Sign out; a server that is gone already is well."""
        try:
            self._connection.logout()
        except (imaplib.IMAP4.error, OSError):
            self._connection.shutdown()

    def folders(self) -> list[Folder]:
        """Return all folders."""
        lines = self._ask(self._connection.list)
        return [folder for line in lines if isinstance(line, bytes) and (folder := read_listed(line))]

    def search(
        self,
        folder: str,
        *,
        texts: dict[str, str],
        is_unseen: bool,
        since: date | None,
        limit: int,
    ) -> tuple[list[Mail], int]:
        """Return the newest mails that match, headers only, and how many match in all.

        `texts` are IMAP's keys (TEXT, FROM, SUBJECT). Raises: Invalid when two texts are not ASCII.
        """
        self._select(folder, is_readonly=True)
        criteria = ["UNSEEN"] if is_unseen else []
        if since is not None:
            criteria += ["SINCE", imap_date(since)]
        foreign = [key for key, text in texts.items() if not text.isascii()]
        if len(foreign) > 1:
            raise Invalid(
                "Only one of the texts may hold letters beyond ASCII.", fields={foreign[1]: "ASCII"}
            )
        for key, text in texts.items():
            if key not in foreign:
                criteria += [key, quote(text)]
        prefix: list[str] = []
        if foreign:
            quote(texts[foreign[0]])  # which refuses line breaks
            prefix = ["CHARSET", "UTF-8"]
            criteria.append(foreign[0])
            # The library sends it behind the command; its stubs know texts only.
            self._connection.literal = texts[foreign[0]].encode()  # type: ignore[assignment]
        found = self._ask(lambda: self._connection.uid("SEARCH", *prefix, *(criteria or ["ALL"])))
        uids = sorted((int(uid) for line in found if line for uid in line.split()), reverse=True)
        return self._heads(uids[:limit]), len(uids)

    def mail(self, folder: str, uid: int) -> Mail:
        """Return a whole mail, up to MAX_MAIL_BYTES of it; it stays unread. Raises: ItemMissing."""
        self._select(folder, is_readonly=True)
        wanted = f"(UID FLAGS RFC822.SIZE BODY.PEEK[]<0.{MAX_MAIL_BYTES}>)"
        for facts, content in self._fetch(str(uid), wanted):
            return read_mail(content, uid=uid, flags=_flags(facts), size_bytes=_number(_SIZE, facts))
        raise ItemMissing(_NO_MAIL)

    def enclosure(self, folder: str, uid: int, number: int, max_bytes: int) -> Enclosure:
        """Return one file of a mail; the mail stays unread. Raises: ItemMissing, FileTooLarge."""
        self._select(folder, is_readonly=True)
        # As base64 in lines a file is larger by 37 %; before it stand texts and smaller files.
        most = max_bytes * 3 // 2 + MAX_MAIL_BYTES
        self._connection.most_bytes = most + MAX_ANSWER_BYTES
        for facts, content in self._fetch(str(uid), f"(UID RFC822.SIZE BODY.PEEK[]<0.{most}>)"):
            is_cut = _number(_SIZE, facts) > len(content)
            return read_enclosure(content, number, max_bytes=max_bytes, is_cut=is_cut)
        raise ItemMissing(_NO_MAIL)

    def head(self, folder: str, uid: int) -> Mail:
        """Return a mail's headers. Raises: ItemMissing."""
        self._select(folder, is_readonly=True)
        for mail in self._heads([uid]):
            return mail
        raise ItemMissing(_NO_MAIL)

    def mark(self, folder: str, uid: int, *, add: Sequence[str], remove: Sequence[str]) -> tuple[str, ...]:
        """Set and take flags; returns those that the mail has then. Raises: ItemMissing."""
        self._select(folder, is_readonly=False)
        for change, flags in (("+FLAGS", add), ("-FLAGS", remove)):
            if flags:
                store = functools.partial(self._connection.uid, "STORE", str(uid), change)
                self._ask(functools.partial(store, f"({' '.join(flags)})"))
        for facts, _ in self._fetch(str(uid), "(UID FLAGS BODY.PEEK[HEADER.FIELDS (DATE)])"):
            return _flags(facts)
        raise ItemMissing(_NO_MAIL)

    def keep(self, use: str, mime: bytes, flags: str) -> tuple[str, int | None]:
        """Put a mail into the folder of a special use; returns the folder, and the mail's uid where it is told.

        Raises: ItemMissing when there is no such folder.
        """
        found = self.find_folder(use)
        if found is None:
            raise ItemMissing(f"The mailbox has no folder that is marked as {use}.")
        moment = imaplib.Time2Internaldate(datetime.now().astimezone())
        name = quote(encode_folder(found))
        answer = self._ask(lambda: self._connection.append(name, flags, moment, mime))
        match = next((match for line in answer if line and (match := _APPENDED.search(line))), None)
        return found, int(match[1]) if match else None

    # --- waiting for what comes ------------------------------------------------------------------------

    def open_folder(self, name: str) -> tuple[int, int]:
        """Open a folder for reading; returns its UIDVALIDITY, and the last uid given out. Raises: ItemMissing."""
        self._select(name, is_readonly=True)
        validity, following = (self._told(code) for code in ("UIDVALIDITY", "UIDNEXT"))
        return validity, max(following - 1, 0) if following else max(self.uids("ALL"), default=0)

    def uids(self, *criteria: str) -> list[int]:
        """Return which mails of the open folder match, the oldest first."""
        found = self._ask(lambda: self._connection.uid("SEARCH", *criteria))
        return sorted(int(uid) for line in found if line for uid in line.split())

    def raw(self, uid: int, max_bytes: int) -> bytes | None:
        """Return that much of a mail of the open folder, which stays unread. None when it is gone."""
        self._connection.most_bytes = max_bytes
        found = self._fetch(str(uid), f"(UID BODY.PEEK[]<0.{max_bytes}>)")
        return found[0][1] if found else None

    def heads(self, uids: Sequence[int]) -> list[Mail]:
        """Return the headers of mails of the open folder, the newest first."""
        return self._heads(uids)

    def find_folder(self, use: str) -> str | None:
        """Return the name of the folder of a special use."""
        return next((each.name for each in self.folders() if each.use == use), None)

    def wait(self, is_over: Callable[[], bool], *, look_s: float, longest_s: float) -> bool:
        """Wait for news of the open folder; returns False at once where the server cannot tell them.

        What it told while it answered something else is news too: it does not tell it again.
        """
        if self._connection.response("EXISTS")[1] != [None]:
            return True
        if "IDLE" not in self._connection.capabilities:
            return False

        def idle() -> tuple[str, list[Any]]:
            self._connection.idle(is_over, look_s=look_s, longest_s=longest_s)
            return "OK", []

        self._ask(idle)
        return True

    # --- the conversation ------------------------------------------------------------------------------

    def _told(self, code: str) -> int:
        """Return a number that the server told when the folder was opened, 0 when it did not."""
        values = self._connection.response(code)[1]
        return int(values[0]) if values and values[0] and values[0].isdigit() else 0

    def _select(self, folder: str, *, is_readonly: bool) -> None:
        name = quote(encode_folder(folder))
        try:
            self._ask(lambda: self._connection.select(name, readonly=is_readonly))
        except AccountRefused as error:
            raise ItemMissing("The mailbox has no such folder. Take names from mail_list_folders.") from error

    def _heads(self, uids: Sequence[int]) -> list[Mail]:
        if not uids:
            return []
        wanted = f"(UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS ({_HEADERS})])"
        found = [
            Mail(_number(_UID, facts), _flags(facts), _number(_SIZE, facts), read_headers(content))
            for facts, content in self._fetch(",".join(map(str, uids)), wanted)
        ]
        return sorted(found, key=lambda mail: mail.uid, reverse=True)

    def _fetch(self, uids: str, wanted: str) -> list[tuple[bytes, bytes]]:
        """Return the facts and the content of each mail; facts may stand before and behind the content."""
        answer = self._ask(lambda: self._connection.uid("FETCH", uids, wanted))
        found: list[tuple[bytes, bytes]] = []
        for part in answer:
            if isinstance(part, tuple):
                found.append((part[0], part[1]))
            elif part and found:
                found[-1] = (found[-1][0] + b" " + part, found[-1][1])
        return found

    def _ask(self, call: Callable[[], tuple[str, list[Any]]]) -> list[Any]:
        try:
            status, answer = call()
        except (imaplib.IMAP4.abort, OSError) as error:
            raise AccountAway("The mail server broke off, or was silent for too long.") from error
        except imaplib.IMAP4.error as error:
            raise _busy(error) or AccountRefused("The mail server did not take the command.") from error
        if status != "OK":
            raise AccountRefused("The mail server refuses this.")
        return answer


def _busy(error: Exception) -> AccountThrottled | AccountAway | None:
    """Return what a server means that will take the same later; the code is its own word for it."""
    found = _CODE.search(str(error))
    if found and found[1] in ("LIMIT", "THROTTLED", "OVERQUOTA"):
        return AccountThrottled("The mail server asks to slow down.", retry_after_s=_BUSY_S)
    if found and found[1] in ("UNAVAILABLE", "INUSE", "SERVERBUG"):
        return AccountAway("The mail server is not available now.")
    return None


def _number(pattern: re.Pattern[bytes], facts: bytes) -> int:
    match = pattern.search(facts)
    return int(match[1]) if match else 0


def _flags(facts: bytes) -> tuple[str, ...]:
    match = _FLAGS.search(facts)
    return tuple(flag.decode("ascii", "replace") for flag in match[1].split()) if match else ()
