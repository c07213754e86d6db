"""Reading PostgreSQL, the truth behind every stream, from the event loop."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, connection, connections

from services.domain.actors import Actor, require
from services.domain.errors import Missing, Temporary
from services.domain.events.log import all_tenants_heads, get_heads, list_events
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.queries import all_tenants_existing, may_read_stream
from services.realtime.entry import Entry, stored_entry

log = logging.getLogger(__name__)

Result = TypeVar("Result")

PAGE = 500
_THREADS = 8
_HUB_THREADS = 2
# A restart of the server leaves broken connections in the pool; each is found out by being used once.
_ATTEMPTS = 4
_ATTEMPTS_WITHIN_S = 1.0
_STREAM_NAME = re.compile(r"(workspace|user|org):[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Kept:
    """What the database holds of a stream: the numbers `oldest` to `head`; none yet when head is 0."""

    oldest: int
    head: int


class Rows:
    """Runs units of database work in threads. The hub has threads of its own: a crowd of sign-ins cannot stall it."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="rows")
        self._hub_threads = ThreadPoolExecutor(_HUB_THREADS, thread_name_prefix="hub-rows")

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run a unit of work and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, _unit, work)

    async def look(self, actor: Actor, stream: str) -> Kept:
        """Say what is kept of a stream that the actor may follow. Raises: Missing, ScopeMissing."""
        return await self.run(lambda: _look(actor, stream))

    async def page(self, org_id: uuid.UUID, stream: str, after: int) -> list[Entry]:
        """Read the next durable entries above a number, at most PAGE."""
        return await self.run(lambda: _page(org_id, stream, after))

    async def page_for_hub(self, org_id: uuid.UUID, stream: str, after: int) -> list[Entry]:
        """Read like `page`, in the hub's own threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._hub_threads, _unit, lambda: _page(org_id, stream, after))

    async def all_tenants_heads(self, streams: Sequence[str]) -> dict[str, int]:
        """Read the heads of all the streams, by one query."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._hub_threads, _unit, lambda: all_tenants_heads(streams))

    async def existing(self, workspace_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
        """Return those of the workspaces that are still there. Raises: Temporary."""
        return await self.run(lambda: all_tenants_existing(workspace_ids))

    async def ping(self) -> None:
        """Ask the database for a sign of life. Raises: Temporary."""
        await self.run(_ping)

    def close(self) -> None:
        """End the threads; what they are at is finished first."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._hub_threads.shutdown(wait=True, cancel_futures=True)


def _unit(work: Callable[[], Result]) -> Result:
    """Run a unit of work. Everything here only reads, so it may run again when a pooled connection was broken.

    Raises: Temporary when the database does not answer.
    """
    started = time.monotonic()
    for attempt in range(_ATTEMPTS):
        try:
            return work()
        except DatabaseError as error:
            is_last = attempt == _ATTEMPTS - 1 or time.monotonic() - started > _ATTEMPTS_WITHIN_S
            if is_last or not isinstance(error, OperationalError | InterfaceError):
                log.warning("the database did not answer: %s", error)
                raise Temporary("The database does not answer. Try again.") from error
        finally:
            for opened in connections.all(initialized_only=True):
                opened.close()
    raise AssertionError("the last attempt returns or raises")


def _look(actor: Actor, stream: str) -> Kept:
    missing = Missing("There is no such stream.")
    if not _STREAM_NAME.fullmatch(stream):
        raise missing
    if stream.startswith("workspace:"):
        require(actor, "workspaces:read")
    with tenant_transaction(actor.org_id):
        if not may_read_stream(actor, stream):
            raise missing
        return Kept(*get_heads([stream]).get(stream, (1, 0)))


def _page(org_id: uuid.UUID, stream: str, after: int) -> list[Entry]:
    with tenant_transaction(org_id):
        events = list_events(stream, after=after, limit=PAGE)
    return [stored_entry(event) for event in events]


def _ping() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
