"""What is called through this gateway: counted at once, stored a moment later, in batches off the event loop.

A call costs its caller a few microseconds here. What a killed process had not stored yet is lost: at most what was
called within FLUSH_S. A process that is told to stop stores all of it. Source: docs/observability.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator

from django.db import DatabaseError, DataError, IntegrityError
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from services.domain.calls.models import CallKind
from services.domain.calls.records import CallRecord, all_tenants_store_calls, batch_of
from services.mcp_gateway.durations import Durations
from services.mcp_gateway.threads import run_in_thread

log = logging.getLogger(__name__)

FLUSH_S = 0.5
AT_ONCE = 1_000
MOST_WAITING = 50_000
STOP_WITHIN_S = 5.0

Labels = tuple[str, str]


class CallLog(Collector):
    """The calls of this process that are not stored yet, and the sums of all of them."""

    def __init__(self) -> None:
        self._waiting: deque[CallRecord] = deque()
        self._batch: str | None = None
        self._in_batch = 0
        self._storing = threading.Lock()
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._durations = Durations()
        self.stored = 0
        self.lost = 0
        self.turned_away: Counter[str] = Counter()
        """Requests that no caller could be found for, or that came too fast, by the reason."""

    def note(self, call: CallRecord) -> None:
        """Count a call that ended, and see to it that it is stored."""
        server, tool = _labels_of(call)
        self._counts[server, tool, call.outcome] += 1
        self._durations.note((server, tool), call.duration_ms)
        if len(self._waiting) >= MOST_WAITING:
            # The database has been away for long. Calls go on, and it is counted that they are not on record.
            self._waiting.popleft()
            self.lost += 1
        self._waiting.append(call)

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Store what is noted for as long as the block runs, and all that is left at its end."""
        storing = asyncio.create_task(self._store_forever())
        try:
            yield
        finally:
            storing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await storing
            await self._store_the_rest()

    def flush(self) -> None:
        """Store what waits, oldest first. Raises: DatabaseError, and then nothing of the batch under way is lost."""
        with self._storing:
            while self._batch is not None or self._waiting:
                if self._batch is None:
                    calls = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
                    self._batch, self._in_batch = batch_of(calls), len(calls)
                # The same text again after a failure: what was stored already is not stored twice.
                try:
                    all_tenants_store_calls(self._batch)
                    self.stored += self._in_batch
                except (DataError, IntegrityError):
                    # It would not be taken the next time either, and must not keep back what comes after it.
                    log.exception("%d calls are not on record", self._in_batch)
                    self.lost += self._in_batch
                self._batch, self._in_batch = None, 0

    async def _store_forever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            try:
                await run_in_thread(self.flush)
            except DatabaseError as error:
                log.warning("%d calls wait for the database: %s", len(self._waiting) + self._in_batch, error)
            except Exception:
                log.exception("calls could not be stored, and are tried again")

    async def _store_the_rest(self) -> None:
        try:
            await asyncio.wait_for(run_in_thread(self.flush), STOP_WITHIN_S)
        except (DatabaseError, TimeoutError) as error:
            log.warning("%d calls are not on record: %s", len(self._waiting) + self._in_batch, error)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        calls = CounterMetricFamily(
            "slipway_mcp_calls", "Calls that ended.", labels=["server", "tool", "outcome"]
        )
        for (server, tool, outcome), count in sorted(self._counts.items()):
            calls.add_metric([server, tool, outcome], count)
        yield calls
        yield self._durations.family("slipway_mcp_call_seconds", "How long calls took.", ["server", "tool"])
        yield CounterMetricFamily("slipway_mcp_calls_stored", "Calls put on record.", value=self.stored)
        yield CounterMetricFamily("slipway_mcp_calls_lost", "Calls not put on record.", value=self.lost)
        yield GaugeMetricFamily(
            "slipway_mcp_calls_waiting", "Calls not on record yet.", value=len(self._waiting) + self._in_batch
        )
        turned_away = CounterMetricFamily(
            "slipway_mcp_turned_away", "Requests answered with 401 or 429.", labels=["reason"]
        )
        for reason, count in sorted(self.turned_away.items()):
            turned_away.add_metric([reason], count)
        yield turned_away


def _labels_of(call: CallRecord) -> Labels:
    """Return what a metric says of a call. Names that tenants or vendors choose would be without number."""
    match call.kind:
        case CallKind.OWN:
            return call.server, call.tool
        case CallKind.UPSTREAM:
            return "upstream", "any"
    return call.server, "model"


CALL_LOG = CallLog()
"""Of this process."""


def elapsed_ms(began: float) -> float:
    """Return the milliseconds since a moment of `time.perf_counter`."""
    return round((time.perf_counter() - began) * 1_000, 3)
