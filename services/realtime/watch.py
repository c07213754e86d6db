"""Noticing that somebody who is connected would not be let in any more, or not to what they follow."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from typing import Protocol

from services.domain.errors import Temporary
from services.realtime.access import EndReason, Visitor, all_tenants_why_end
from services.realtime.hub import Hub
from services.realtime.nudges import hear_access_changes
from services.realtime.rows import Rows

log = logging.getLogger(__name__)


class Connection(Protocol):
    """A connection that can be ended from outside."""

    visitor: Visitor | None

    def end(self, reason: str) -> None:
        """End it soon: `access_ended`, `access_changed` or `shutdown`."""


class Watch:
    """Knows every open connection, and checks each distinct credential and each stream again and again."""

    def __init__(self, rows: Rows, hub: Hub, *, redis_url: str, every_s: float) -> None:
        self._rows = rows
        self._hub = hub
        self._redis_url = redis_url
        self._every_s = every_s
        self._connections: set[Connection] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._has_changed = asyncio.Event()
        self.is_closing = False

    def start(self) -> None:
        """Start the checks."""
        self._tasks = [
            asyncio.create_task(self._check_for_ever()),
            asyncio.create_task(hear_access_changes(self._redis_url, self._has_changed)),
        ]

    async def stop(self) -> None:
        """Stop the checks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def join(self, connection: Connection) -> None:
        """Begin to watch a connection."""
        self._connections.add(connection)
        if self.is_closing:
            connection.end("shutdown")

    def leave(self, connection: Connection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)

    def end_all(self) -> None:
        """End every connection, because the process stops."""
        self.is_closing = True
        for connection in list(self._connections):
            connection.end("shutdown")

    async def check(self) -> None:
        """Check each distinct credential once, and each workspace's stream; end what is no good any more."""
        visitors = {c.visitor.credential.key: c.visitor for c in self._connections if c.visitor is not None}
        for key, visitor in visitors.items():
            reason = await self._rows.run(functools.partial(all_tenants_why_end, visitor))
            if reason is not None:
                self._end(key, reason)
        await self._hub.end_streams_of_what_is_gone()

    def _end(self, key: tuple[str, str], reason: EndReason) -> None:
        for connection in list(self._connections):
            if connection.visitor is not None and connection.visitor.credential.key == key:
                connection.end(reason)

    async def _check_for_ever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await self._has_changed.wait()
            self._has_changed.clear()
            try:
                await self.check()
            except Temporary as error:
                log.warning("access could not be checked, later again: %s", error)
            except Exception:
                log.exception("access could not be checked, later again")
