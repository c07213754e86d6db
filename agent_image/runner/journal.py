"""The runner's log of durable events: numbered without gaps, kept until the gateway has stored them."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import Any

from agent_image.runner import text
from agent_image.runner.ids import new_uuid

MAX_ENTRIES = 5_000
MAX_BYTES = 64 * 1024 * 1024  # 5,000 entries of 1 MiB would be more than a sandbox has


class Journal:
    """In memory, and one for each life of the runner: its `id` tells the gateway which numbering it reads."""

    def __init__(
        self, id_: str | None = None, *, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES
    ) -> None:
        self.id = id_ or new_uuid()
        self._entries: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._next = 1
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._acknowledged = asyncio.Condition()

    @property
    def oldest(self) -> int:
        """The number of the first entry that is still held; the next number when none is."""
        return self._entries[0][0] if self._entries else self._next

    @property
    def is_full(self) -> bool:
        return len(self._entries) >= self._max_entries or self._bytes >= self._max_bytes

    def append(self, subject: str, kind: str, payload: dict[str, Any], *, of: str = "turn") -> bytes:
        """Number and keep one event of a turn, or of a command; return its frame."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        clean = text.without_nul(payload)
        frame = {"op": "event", "n": self._next, of: subject, "type": kind, "at": at, "data": clean}
        encoded = text.encode_fitting(frame)
        self._entries.append((self._next, encoded))
        self._bytes += len(encoded)
        self._next += 1
        return encoded

    def held_after(self, n: int) -> list[bytes]:
        """Return the frames of all held entries with a number above `n`, in order."""
        return [frame for number, frame in self._entries if number > n]

    async def acknowledge(self, n: int) -> None:
        """Let go of everything up to `n`."""
        while self._entries and self._entries[0][0] <= n:
            self._bytes -= len(self._entries.popleft()[1])
        async with self._acknowledged:
            self._acknowledged.notify_all()

    async def wait_for_room(self) -> None:
        """Wait while too much is unacknowledged, so that a provider cannot outrun a gateway that is away."""
        async with self._acknowledged:
            await self._acknowledged.wait_for(lambda: not self.is_full)

    async def wait_until_empty(self) -> None:
        async with self._acknowledged:
            await self._acknowledged.wait_for(lambda: not self._entries)
