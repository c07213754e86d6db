"""Writing mail: a letter as MIME bytes, with the headers that keep a reply in its thread."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid

_PLAIN = r"[^\s<>@,;:\"\\\x00-\x1f\x7f]{1,64}@[^\s<>@,;:\"\\\x00-\x1f\x7f]{1,190}"
_ADDRESS = re.compile(rf"{_PLAIN}|(?:[^<>@,;:\"\\\x00-\x1f\x7f]{{1,120}} )?<{_PLAIN}>")
_REFERENCE = re.compile(r"<[^<>\s]{1,500}>")
_MAX_REFERENCES = 20


@dataclass(frozen=True, slots=True)
class Enclosure:
    """A file that lies in a mail, with its content."""

    name: str
    content_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail to be written. `in_reply_to` and `references` are message ids, each in its angle brackets."""

    to: tuple[str, ...]
    subject: str
    body: str
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    in_reply_to: str | None = None
    references: tuple[str, ...] = ()
    sender: str | None = None
    enclosures: tuple[Enclosure, ...] = ()


def is_address(text: str) -> bool:
    """Say whether a text is one mail address, plain or behind a name: nothing that could begin another header."""
    return _ADDRESS.fullmatch(text) is not None


def find_references(header: str) -> tuple[str, ...]:
    """Return the message ids in a References or In-Reply-To header, the last twenty."""
    return tuple(_REFERENCE.findall(header)[-_MAX_REFERENCES:])


def reply_subject(subject: str) -> str:
    """Return the subject of a reply: the same, behind one `Re:`."""
    plain = " ".join(subject.split())
    return plain if plain.lower().startswith("re:") else f"Re: {plain}"


def write_letter(letter: Letter) -> bytes:
    """Return a letter as it is sent. Raises: ValueError for a header that would break out of its line."""
    message = EmailMessage(policy=SMTP)
    if letter.sender:
        message["From"] = letter.sender
    message["To"] = ", ".join(letter.to)
    if letter.cc:
        message["Cc"] = ", ".join(letter.cc)
    if letter.bcc:
        message["Bcc"] = ", ".join(letter.bcc)
    message["Subject"] = letter.subject
    message["Date"] = formatdate(usegmt=True)
    message["Message-ID"] = make_msgid(domain="slipway.invalid")
    if letter.in_reply_to:
        message["In-Reply-To"] = letter.in_reply_to
        known = [reference for reference in letter.references if reference != letter.in_reply_to]
        message["References"] = " ".join([*known, letter.in_reply_to])
    message.set_content(letter.body)
    for file in letter.enclosures:
        main, _, sub = file.content_type.partition("/")
        # A mail within a mail may not travel as base64 (RFC 2046, 5.2.1); as bytes it arrives whole.
        if main in ("message", "multipart") or not sub:
            main, sub = "application", "octet-stream"
        message.add_attachment(file.content, maintype=main, subtype=sub, filename=file.name)
    return message.as_bytes()
