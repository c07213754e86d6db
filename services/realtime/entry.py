"""What travels to a client: one envelope or one reply, serialised once for all who get it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)


class Entry:
    """A text on its way to clients.

    `seq` is set for a durable event. `after` and `part` are set for a live one. A reply has none of them.
    `envelope` is what the text says, for an event or a live entry that came in.
    """

    __slots__ = ("_sse", "after", "envelope", "part", "seq", "size", "text")

    def __init__(
        self,
        text: str,
        *,
        seq: int | None = None,
        after: int | None = None,
        part: int = 0,
        envelope: Mapping[str, Any] | None = None,
    ) -> None:
        self.text = text
        self.envelope = envelope
        self.seq = seq
        self.after = after
        self.part = part
        self.size = len(text)
        self._sse: bytes | None = None

    @property
    def sse(self) -> bytes:
        """Return the entry as a server-sent event; JSON has no line breaks, so one `data` line is enough."""
        if self._sse is None:
            number = "" if self.seq is None else f"id: {self.seq}\n"
            self._sse = f"{number}data: {self.text}\n\n".encode()
        return self._sse


def serialise(body: Mapping[str, Any]) -> str:
    """Return the compact JSON that every transport carries."""
    return json.dumps(body, separators=(",", ":"))


def stored_entry(envelope: Mapping[str, Any]) -> Entry:
    """Return the entry of a durable envelope that was read from the database."""
    return Entry(serialise(envelope), seq=envelope["seq"], envelope=envelope)


def reply(op: str, **fields: Any) -> Entry:
    """Return a message of the server's own."""
    return Entry(serialise({"op": op, **fields}))


def resync(stream: str, oldest: int) -> Entry:
    """Return the message that says: what lies before `oldest` is not kept any more."""
    return reply("resync", stream=stream, oldest=oldest)


def parse_live_log(raw: bytes) -> Entry | None:
    """Read the `e` field of a Redis entry. None for what is no envelope: Redis is no authority."""
    try:
        text = raw.decode()
        envelope = json.loads(text)
        if "seq" in envelope:
            return Entry(text, seq=_number(envelope["seq"]), envelope=envelope)
        after, part = _number(envelope["after"]), _number(envelope["part"])
        return Entry(text, after=after, part=part, envelope=envelope)
    except (ValueError, KeyError, TypeError):
        log.warning("an entry of a live log is no envelope: %.200r", raw)
        return None


def _number(value: object) -> int:
    if type(value) is not int:
        raise TypeError("not an integer")
    return value
