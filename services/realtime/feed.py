"""One stream in one process: the order in which its entries reach the subscribers. Pure: no clock, no wire."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Iterable

from services.domain.actors import Actor
from services.realtime.entry import Entry, resync
from services.realtime.livetail import LiveTail
from services.realtime.outlet import Outlet

_RECENT_ENTRIES = 512
_RECENT_BYTES = 512 * 1024
_HELD_ENTRIES = 256


class Subscription:
    """One client's place in one stream. `seq` is the last durable number that it was given."""

    __slots__ = ("actor", "feed", "outlet", "seq")

    def __init__(self, feed: Feed, actor: Actor, outlet: Outlet) -> None:
        self.feed = feed
        self.actor = actor
        self.outlet = outlet
        self.seq = 0

    def offer(self, entry: Entry) -> None:
        """Pass an entry of the feed on, unless the client has it, or is further than a live one."""
        if entry.seq is not None:
            if entry.seq <= self.seq:
                return
            self.seq = entry.seq
        elif entry.after is not None and entry.after != self.seq:
            return
        self.outlet.offer(entry if entry.guard is None else entry.shown_to(self.actor))


class Feed:
    """Takes entries from Redis and from PostgreSQL in any order, and gives out durable ones strictly in theirs.

    `seq` is the last number given out, `wanted` the highest that is known to exist: while it is above `seq`, the
    hub reads what is missing from the database. `position` is where to read on in Redis. `is_hinted` says that what is
    missing was not lost: it is for the database to tell.
    """

    def __init__(self, stream: str, org_id: uuid.UUID, *, seq: int, position: str) -> None:
        self.stream = stream
        self.org_id = org_id
        self.seq = seq
        self.wanted = seq
        self.position = position
        self.is_filling = self.is_hinted = False
        self.members: set[Subscription] = set()
        self._live: set[Subscription] = set()
        self._recent: deque[Entry] = deque()
        self._recent_bytes = 0
        self._held: deque[Entry] = deque(maxlen=_HELD_ENTRIES)
        self._last_part = (0, 0)
        self._tail = LiveTail()
        # A person's stream has the same name in each of their organisations, and Redis entries name none:
        # there they are only a hint, and the text comes from the database, under row-level security.
        self._trusts_live_log = not stream.startswith("user:")

    @property
    def is_behind(self) -> bool:
        """Say whether entries are known to exist that have to be read from the database."""
        return self.wanted > self.seq

    def accept(self, entry: Entry) -> None:
        """Take an entry of the live log: give it out in its place, drop a repeat, note a gap."""
        if entry.seq is not None:
            is_hint = entry.is_hint or not self._trusts_live_log
            if entry.seq == self.seq + 1 and not is_hint:
                self._advance(entry)
            else:
                self.is_hinted = self.is_hinted or is_hint
                self.wanted = max(self.wanted, entry.seq)
        elif entry.after is not None and self._trusts_live_log:
            self._accept_live(entry, entry.after)

    def accept_stored(self, entry: Entry) -> None:
        """Take a durable entry of the database, which has no gaps but for what retention has removed."""
        if entry.seq is None or entry.seq <= self.seq:
            return
        if entry.seq > self.seq + 1:
            self._give(resync(self.stream, entry.seq))
        self._advance(entry)

    def settle(self) -> None:
        """End a fill: whatever is still wanted does not exist, and live entries that waited find their place or go."""
        self.wanted = self.seq
        for entry in self._held:
            if entry.after == self.seq:
                self._accept_live(entry, self.seq)
        self._held.clear()

    def has_all_after(self, seq: int) -> bool:
        """Say whether every durable entry above a number up to the feed's own is at hand."""
        oldest = self._recent[0].seq if self._recent else None
        return seq >= self.seq or (oldest is not None and oldest <= seq + 1)

    def recent_after(self, seq: int) -> list[Entry]:
        """Return the durable entries at hand above a number, in order."""
        return [entry for entry in self._recent if entry.seq is not None and entry.seq > seq]

    def remember(self, entries: Iterable[Entry]) -> None:
        """Take in what the live log held before this feed began, so that a text at work is known from its start."""
        if not self._trusts_live_log:
            return
        for entry in entries:
            if entry.envelope is not None and (entry.seq is not None or (entry.after or 0) <= self.seq):
                self._tail.take(entry.envelope)
            if entry.after == self.seq:
                self._last_part = (self.seq, entry.part)

    def attach(self, subscription: Subscription) -> None:
        """Give the subscription the texts that are being said, whole so far, and every entry from now on."""
        self._live.add(subscription)
        after, part = self._last_part
        for entry in self._tail.texts(after=self.seq, part=part if after == self.seq else 0):
            subscription.offer(entry)

    def drop(self, subscription: Subscription) -> None:
        """Forget a subscription."""
        self._live.discard(subscription)
        self.members.discard(subscription)

    def _accept_live(self, entry: Entry, after: int) -> None:
        if after > self.seq:
            self.wanted = max(self.wanted, after)
            self._held.append(entry)
            return
        # Parts of one place rise. A writer that starts anew begins again at its first part.
        if after < self.seq or (self._last_part >= (after, entry.part) and entry.part > 1):
            return
        self._last_part = (after, entry.part)
        if entry.envelope is not None:
            self._tail.take(entry.envelope)
        self._give(entry)

    def _advance(self, entry: Entry) -> None:
        if entry.seq is None:
            return
        self.seq = entry.seq
        self.wanted = max(self.wanted, entry.seq)
        if entry.envelope is not None:
            self._tail.take(entry.envelope)
            entry.envelope = None  # its text is enough from here on
        if entry.guard is not None and entry.guard.readers is not None:
            # What was said before may be for fewer now, which only the database knows.
            self._recent.clear()
            self._recent_bytes = 0
        self._recent.append(entry)
        self._recent_bytes += entry.size
        while len(self._recent) > _RECENT_ENTRIES or self._recent_bytes > _RECENT_BYTES:
            self._recent_bytes -= self._recent.popleft().size
        self._give(entry)

    def _give(self, entry: Entry) -> None:
        for subscription in self._live:
            subscription.offer(entry)


def in_chunks(entries: Iterable[Entry], size: int) -> Iterable[list[Entry]]:
    """Cut entries into lists of at most `size`, so that whoever gives them out can let others run in between."""
    chunk: list[Entry] = []
    for entry in entries:
        chunk.append(entry)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
