"""Noticing that somebody who is connected would not be let in any more."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Protocol

from services.domain.errors import Temporary
from services.realtime.access import Visitor, all_tenants_is_still_admitted
from services.realtime.rows import Rows

log = logging.getLogger(__name__)


class Connection(Protocol):
    """A connection that can be ended from outside."""

    visitor: Visitor | None

    def end(self, reason: str) -> None:
        """End it soon: `access_ended` or `shutdown`."""


class Watch:
    """Knows every open connection, and checks each distinct credential again and again."""

    def __init__(self, rows: Rows, *, every_s: float) -> None:
        self._rows = rows
        self._every_s = every_s
        self._connections: set[Connection] = set()
        self._task: asyncio.Task[None] | None = None
        self.is_closing = False

    def start(self) -> None:
        """Start the checks."""
        self._task = asyncio.create_task(self._check_for_ever())

    async def stop(self) -> None:
        """Stop the checks."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

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
        """Check each distinct credential once, and end the connections of those that are no good any more."""
        visitors = {c.visitor.credential.key: c.visitor for c in self._connections if c.visitor is not None}
        for key, visitor in visitors.items():
            try:
                is_admitted = await self._rows.run(functools.partial(all_tenants_is_still_admitted, visitor))
            except Temporary as error:
                log.warning("access could not be checked, later again: %s", error)
                return
            if not is_admitted:
                self._end(key)

    def _end(self, key: tuple[str, str]) -> None:
        for connection in list(self._connections):
            if connection.visitor is not None and connection.visitor.credential.key == key:
                connection.end("access_ended")

    async def _check_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.check()
            except Exception:
                log.exception("access could not be checked, later again")
