"""What travels to a client: one envelope or one reply, serialised once for all who get it."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from services.domain.actors import Actor
from services.domain.events.log import to_envelope, to_hidden
from services.domain.events.models import Event
from services.domain.events.registry import KINDS, is_event_for

log = logging.getLogger(__name__)


class Entry:
    """A text on its way to clients.

    `seq` is set for a durable event. `after` and `part` are set for a live one. A reply has none of them.
    `envelope` is what the text says, for an event or a live entry that came in. `guard` is who may see it; None is
    whoever follows the stream. A `is_hint` says that an event is there, and not what it is.
    """

    __slots__ = ("_hidden", "_sse", "after", "envelope", "guard", "is_hint", "part", "seq", "size", "text")

    def __init__(
        self,
        text: str,
        *,
        seq: int | None = None,
        after: int | None = None,
        part: int = 0,
        envelope: Mapping[str, Any] | None = None,
        guard: Guard | None = None,
        is_hint: bool = False,
    ) -> None:
        self.text = text
        self.envelope = envelope
        self.seq = seq
        self.after = after
        self.part = part
        self.size = len(text)
        self.guard = guard
        self.is_hint = is_hint
        self._sse: bytes | None = None
        self._hidden: Entry | None = None

    def shown_to(self, actor: Actor) -> Entry:
        """Return the entry, or what is left of it for somebody who may not see it: its number."""
        if self.guard is None or self.guard.admits(actor):
            return self
        if self._hidden is None:
            envelope = self.envelope if self.envelope is not None else json.loads(self.text)
            self._hidden = Entry(serialise(to_hidden(envelope)), seq=self.seq)
        return self._hidden

    @property
    def sse(self) -> bytes:
        """Return the entry as a server-sent event; JSON has no line breaks, so one `data` line is enough."""
        if self._sse is None:
            number = "" if self.seq is None else f"id: {self.seq}\n"
            self._sse = f"{number}data: {self.text}\n\n".encode()
        return self._sse


@dataclass(frozen=True, slots=True)
class Guard:
    """Who may see an event that not all followers of its stream may see."""

    event_type: str
    readers: frozenset[uuid.UUID] | None

    def admits(self, actor: Actor) -> bool:
        """Say whether an actor may see it."""
        return is_event_for(actor, self.event_type, self.readers)


def _guard(event_type: object, readers: Collection[uuid.UUID] | None = None) -> Guard | None:
    kind = KINDS.get(str(event_type))
    if kind is not None and kind.is_open and readers is None:
        return None
    return Guard(str(event_type), None if readers is None else frozenset(readers))


def serialise(body: Mapping[str, Any]) -> str:
    """Return the compact JSON that every transport carries."""
    return json.dumps(body, separators=(",", ":"))


def stored_entry(event: Event) -> Entry:
    """Return the entry of an event that was read from the database."""
    envelope = to_envelope(event)
    guard = _guard(event.type, event.readers)
    return Entry(serialise(envelope), seq=event.seq, envelope=envelope, guard=guard)


def reply(op: str, **fields: Any) -> Entry:
    """Return a message of the server's own."""
    return Entry(serialise({"op": op, **fields}))


def ended(stream: str) -> Entry:
    """Return the message that says: there is no such stream any more."""
    return reply("ended", stream=stream, code="access_ended")


def resync(stream: str, oldest: int) -> Entry:
    """Return the message that says: what lies before `oldest` is not kept any more."""
    return reply("resync", stream=stream, oldest=oldest)


def parse_live_log(raw: bytes) -> Entry | None:
    """Read the `e` field of a Redis entry. None for what is no envelope: Redis is no authority."""
    try:
        text = raw.decode()
        envelope = json.loads(text)
        if "is_hint" in envelope:
            return Entry("", seq=_number(envelope["seq"]), is_hint=True)
        if "seq" in envelope:
            guard = _guard(envelope.get("type"))
            return Entry(text, seq=_number(envelope["seq"]), envelope=envelope, guard=guard)
        after, part = _number(envelope["after"]), _number(envelope["part"])
        return Entry(text, after=after, part=part, envelope=envelope)
    except (ValueError, KeyError, TypeError):
        log.warning("an entry of a live log is no envelope: %.200r", raw)
        return None


def _number(value: object) -> int:
    if type(value) is not int:
        raise TypeError("not an integer")
    return value
