"""Reading a mail that a stranger wrote: headers, the readable text, what is attached. Pure, bounded."""

from __future__ import annotations

import email
from collections.abc import Iterator
from dataclasses import dataclass
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message

from services.domain.errors import FileTooLarge, ItemMissing
from services.kit.html_text import readable_text
from services.kit.letters import Enclosure

_MAX_PARTS = 200
_MAX_HEADER_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a mail, as it is listed."""

    name: str
    mime_type: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail in a folder. `text` is empty when only headers were fetched; `is_cut` says that more was not fetched."""

    uid: int
    flags: tuple[str, ...]
    size_bytes: int
    headers: dict[str, str]
    text: str = ""
    attachments: tuple[Attachment, ...] = ()
    is_cut: bool = False

    def header(self, name: str) -> str:
        """Return a header's value, or an empty text."""
        return self.headers.get(name.lower(), "")


def read_headers(raw: bytes) -> dict[str, str]:
    """Return the headers of a mail by their names in lower case, each decoded and in one line."""
    return _headers(email.message_from_bytes(raw))


def read_mail(raw: bytes, *, uid: int, flags: tuple[str, ...], size_bytes: int) -> Mail:
    """Return a mail from its bytes, of which the end may be missing."""
    message = email.message_from_bytes(raw)
    parts = list(_leaves(message))
    return Mail(
        uid=uid,
        flags=flags,
        size_bytes=size_bytes,
        headers=_headers(message),
        text=_text_of(parts),
        attachments=tuple(_attachment(part) for part in parts if part.get_filename()),
        is_cut=size_bytes > len(raw),
    )


def read_enclosure(raw: bytes, number: int, *, max_bytes: int, is_cut: bool) -> Enclosure:
    """Return one file of a mail from the mail's bytes, of which the end may be missing; the first is number 1.

    Raises: ItemMissing, FileTooLarge.
    """
    parts = list(_leaves(email.message_from_bytes(raw)))
    files = [part for part in parts if part.get_filename()]
    if number > len(files):
        more = " in the part of it that is read" if is_cut else ""
        raise ItemMissing(f"The mail has no attachment {number}: there are {len(files)}{more}.")
    part = files[number - 1]
    content = part.get_payload(decode=True)
    content = content if isinstance(content, bytes) else b""
    # Where the mail was cut, its last part is not whole.
    if len(content) > max_bytes or (is_cut and part is parts[-1]):
        raise FileTooLarge(
            f"The attachment is too large, or lies too deep in the mail: {max_bytes} bytes can be saved.",
            max_bytes=max_bytes,
        )
    return Enclosure(_decoded(part.get_filename() or "")[:200], part.get_content_type()[:100], content)


def _leaves(message: Message) -> Iterator[Message]:
    for index, part in enumerate(message.walk()):
        if index >= _MAX_PARTS:
            return
        if not part.is_multipart():
            yield part


def _headers(message: Message) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in message.items():
        found.setdefault(name.lower(), _decoded(value))
    return found


def _decoded(value: object) -> str:
    """Return a header's value in letters; one whose coding is broken stays as it is."""
    raw = str(value)
    try:
        text = str(make_header(decode_header(raw)))
    except (ValueError, LookupError, MessageError):
        text = raw
    return " ".join(text.split())[:_MAX_HEADER_CHARS]


def _text_of(parts: list[Message]) -> str:
    inline = [part for part in parts if not part.get_filename()]
    return readable_text(
        (_letters(part) for part in inline if part.get_content_type() == "text/plain"),
        (_letters(part) for part in inline if part.get_content_type() == "text/html"),
    )


def _letters(part: Message) -> str:
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return ""
    try:
        return content.decode(part.get_content_charset() or "utf-8", "replace")
    except LookupError:
        return content.decode("utf-8", "replace")


def _attachment(part: Message) -> Attachment:
    content = part.get_payload(decode=True)
    return Attachment(
        name=_decoded(part.get_filename() or "")[:200],
        mime_type=part.get_content_type()[:100],
        size_bytes=len(content) if isinstance(content, bytes) else 0,
    )
