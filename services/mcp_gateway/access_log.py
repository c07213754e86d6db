"""Uses of credentials by the tasks, and by people's own programs, that this process serves.

The first use of a credential at a place is on record before the value goes out. Repeats cost their caller a few
microseconds: they are counted here and written every FLUSH_S, and when the process stops. One that is killed loses at
most those.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from django.db import DataError, IntegrityError

from services.domain.vault.accesses import Access, Used, record_accesses
from services.domain.vault.models import AccessWay
from services.mcp_gateway.threads import run_in_thread

log = logging.getLogger(__name__)

FLUSH_S = 5.0
FORGET_S = 60.0
STOP_WITHIN_S = 5.0
MAX_COUNTED = 200
"""Places of one task, or of one person, that are counted. What is used at more of them is written each time."""

RecordAccesses = Callable[[uuid.UUID, Sequence[Access]], None]
Whose = tuple[uuid.UUID, uuid.UUID | None, uuid.UUID | None]
Place = tuple[Used, AccessWay, str, str, str]


@dataclass(slots=True)
class _Count:
    """A use that is on record, and its repeats that are not: `access` holds when the first and the last was."""

    access: Access
    used_at: float
    repeats: int = 0


class AccessLog:
    """Belongs to one event loop. Tests put their own `record` in place."""

    def __init__(self, record: RecordAccesses = record_accesses) -> None:
        self._record = record
        self._counts: dict[Whose, dict[Place, _Count]] = {}
        self._unwritten: defaultdict[uuid.UUID, list[Access]] = defaultdict(list)

    async def note(self, org_id: uuid.UUID, access: Access) -> None:
        """See to it that a use is on record, or will be if it repeats one that is.

        Of first uses at once each is written: none waits for another's. Raises: DatabaseError.
        """
        if not self.repeat(org_id, access):
            await run_in_thread(self._record, org_id, [access])
            self.keep(org_id, access)

    def repeat(self, org_id: uuid.UUID, access: Access) -> bool:
        """Count a use that repeats one on record. False when it does not: then it has to be written first."""
        count = self._counts.get(_whose(org_id, access), {}).get(_place_of(access))
        if count is None:
            return False
        first_at = count.access.first_at if count.repeats else access.first_at
        count.access = dataclasses.replace(count.access, first_at=first_at, last_at=access.last_at)
        count.repeats += 1
        count.used_at = time.monotonic()
        return True

    def keep(self, org_id: uuid.UUID, access: Access) -> None:
        """Count the repeats of a use that was just written."""
        counts = self._counts.setdefault(_whose(org_id, access), {})
        if len(counts) < MAX_COUNTED:
            counts.setdefault(_place_of(access), _Count(access, time.monotonic()))

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Write repeats for as long as the block runs, and all that is left at its end."""
        stopping = asyncio.Event()
        writing = asyncio.create_task(self._write_until(stopping))
        try:
            yield
        finally:
            # Not cancelled: what it is writing right now would be lost if that failed.
            stopping.set()
            try:
                await asyncio.wait_for(writing, STOP_WITHIN_S)
            except TimeoutError:
                log.warning("repeated uses of credentials are not on record: the database did not answer")

    async def write_down(self) -> None:
        """Write the repeats so far; what cannot be written now is tried again."""
        self._set_aside()
        for org_id in list(self._unwritten):
            rows = self._unwritten.pop(org_id)
            try:
                await run_in_thread(self._record, org_id, rows)
            except (DataError, IntegrityError):
                # They would not be taken the next time either.
                log.exception("%d entries of the log of credentials are lost", len(rows))
            except Exception:
                log.exception("%d entries of the log of credentials wait for the database", len(rows))
                self._unwritten[org_id] = [*rows, *self._unwritten[org_id]]

    def _set_aside(self) -> None:
        """Make entries of the repeats so far, and forget what was not used for long."""
        edge = time.monotonic() - FORGET_S
        for whose, counts in list(self._counts.items()):
            for place, count in list(counts.items()):
                if count.repeats:
                    self._unwritten[whose[0]].append(dataclasses.replace(count.access, count=count.repeats))
                    count.repeats = 0
                if count.used_at < edge:
                    counts.pop(place, None)
            if not counts:
                self._counts.pop(whose, None)

    async def _write_until(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), FLUSH_S)
            await self.write_down()


def _whose(org_id: uuid.UUID, access: Access) -> Whose:
    return org_id, access.task_id, access.user_id


def _place_of(access: Access) -> Place:
    return access.used, access.way, access.host, access.method, access.path


ACCESS_LOG = AccessLog()
"""Of this process."""
