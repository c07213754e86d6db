"""The bounded queue between the hub and one connection."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from services.realtime.entry import Entry, ended


class Outlet(Protocol):
    """Where a subscription's entries go."""

    def offer(self, entry: Entry) -> None:
        """Take an entry without waiting."""

    async def put(self, entry: Entry) -> None:
        """Take an entry when there is room: for replays, which can wait."""

    def give_up(self) -> None:
        """End the connection, because what it should get cannot be had; the client comes back with its cursor."""

    def end_stream(self, stream: str) -> None:
        """Say that a stream is there no more; nothing of it follows."""


class BoundedOutlet:
    """Holds what a connection has not sent yet. Live entries beyond the bounds overflow it, for good."""

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        self.is_overflown = self.has_ended = False
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: deque[Entry] = deque()
        self._size = 0
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()

    def offer(self, entry: Entry) -> None:
        """Take an entry, or overflow: whoever writes then says so, and closes."""
        if self.is_overflown:
            return
        if len(self._entries) >= self._max_entries or self._size > self._max_bytes:
            self.give_up()
            return
        self._entries.append(entry)
        self._size += entry.size
        self._filled.set()

    def give_up(self) -> None:
        """Drop what is queued: the writer finds the queue overflown."""
        self.is_overflown = True
        self._entries.clear()
        self._drained.set()
        self._filled.set()

    def end_stream(self, stream: str) -> None:
        """Pass it on."""
        self.has_ended = True
        self.offer(ended(stream))

    async def put(self, entry: Entry) -> None:
        """Take an entry once the queue is less than half full, so that live entries find room beside a replay."""
        while len(self._entries) * 2 >= self._max_entries or self._size * 2 > self._max_bytes:
            if self.is_overflown:
                return
            self._drained.clear()
            await self._drained.wait()
        self.offer(entry)

    @property
    def is_drained(self) -> bool:
        """Say whether all that was taken is given out."""
        return not self._entries

    async def take(self) -> Entry | None:
        """Return the next entry when there is one; None when the queue has overflown."""
        while not self._entries:
            if self.is_overflown:
                return None
            self._filled.clear()
            await self._filled.wait()
        entry = self._entries.popleft()
        self._size -= entry.size
        if len(self._entries) * 2 < self._max_entries:
            self._drained.set()
        return entry


class Bell:
    """An outlet that keeps nothing: it only says that something has happened."""

    def __init__(self) -> None:
        self.rung = asyncio.Event()
        self.has_ended = False

    def offer(self, entry: Entry) -> None:
        """Ring for a durable event."""
        if entry.seq is not None:
            self.rung.set()

    def end_stream(self, stream: str) -> None:
        """Ring: whoever listens finds the stream ended."""
        self.has_ended = True
        self.rung.set()

    async def put(self, entry: Entry) -> None:
        """Ring."""
        self.offer(entry)

    def give_up(self) -> None:
        """Ring: whoever listens looks into the database anyway."""
        self.rung.set()
