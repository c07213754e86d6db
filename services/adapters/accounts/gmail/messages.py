"""Reading Gmail's message resources: headers, the readable text, what is attached. Pure.

Source: https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages#Message
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from services.kit.html_text import readable_text

_MAX_PARTS = 200
_MAX_DEPTH = 20
_MAX_HEADER_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a message, as it is listed."""

    attachment_id: str
    name: str
    mime_type: str
    size_bytes: int
    data: str = field(default="", repr=False)
    """The content as base64url, of those that Gmail gives with the message instead of an id."""


@dataclass(frozen=True, slots=True)
class MailMessage:
    """A message. `text` is empty when only headers were asked for."""

    id: str
    thread_id: str
    labels: tuple[str, ...]
    snippet: str
    headers: dict[str, str]
    text: str
    attachments: tuple[Attachment, ...]

    def header(self, name: str) -> str:
        """Return a header's value, or an empty text."""
        return self.headers.get(name.lower(), "")


def read_message(resource: dict[str, Any]) -> MailMessage:
    """Return a message resource as a message. Raises: KeyError, TypeError, ValueError when it is none."""
    payload = resource.get("payload") or {}
    parts = list(_walk(payload))
    return MailMessage(
        id=str(resource["id"]),
        thread_id=str(resource["threadId"]),
        labels=tuple(str(label) for label in resource.get("labelIds") or ()),
        snippet=str(resource.get("snippet", ""))[:500],
        headers=_headers(payload),
        text=_text_of(parts),
        attachments=tuple(_attachment(part) for part in parts if part.get("filename")),
    )


def _walk(part: dict[str, Any], depth: int = 0) -> Iterator[dict[str, Any]]:
    """Go through the leaves of a message, in order; a stranger wrote it, so only so deep and so many."""
    inner = part.get("parts") or ()
    if not inner or depth >= _MAX_DEPTH:
        yield part
        return
    for index, child in enumerate(inner):
        if index >= _MAX_PARTS:
            return
        yield from _walk(child, depth + 1)


def _headers(payload: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for header in payload.get("headers") or ():
        # The first one counts: what a relay adds stands above what it got.
        found.setdefault(str(header["name"]).lower(), str(header["value"])[:_MAX_HEADER_CHARS])
    return found


def _text_of(parts: list[dict[str, Any]]) -> str:
    inline = [part for part in parts if not part.get("filename")]
    return readable_text(
        (_decode(part) for part in inline if part.get("mimeType") == "text/plain"),
        (_decode(part) for part in inline if part.get("mimeType") == "text/html"),
    )


def _decode(part: dict[str, Any]) -> str:
    """Return a part's text; Gmail gives it as UTF-8 whatever it was written in."""
    try:
        return decode_body(part.get("body") or {}).decode("utf-8", "replace")
    except ValueError:
        return ""


def decode_body(body: dict[str, Any]) -> bytes:
    """Return the content of a message part's body. Raises: ValueError."""
    encoded = str(body.get("data") or "")
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))


def _attachment(part: dict[str, Any]) -> Attachment:
    body = part.get("body") or {}
    return Attachment(
        attachment_id=str(body.get("attachmentId", "")),
        name=str(part["filename"])[:200],
        mime_type=str(part.get("mimeType", ""))[:100],
        size_bytes=int(body.get("size", 0)),
        data="" if body.get("attachmentId") else str(body.get("data") or ""),
    )
