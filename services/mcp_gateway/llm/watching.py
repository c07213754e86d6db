"""What is noted of each call of a model: its record, its span, its metrics. Never a word of what was said."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.types import Scope

from services.domain.calls.models import CallKind
from services.domain.calls.records import outcome_of
from services.domain.llm.rates import Tokens
from services.domain.tasks.models import Task
from services.kit import tracing
from services.kit.clock import now
from services.mcp_gateway.call_log import CALL_LOG, elapsed_ms
from services.mcp_gateway.durations import Durations
from services.mcp_gateway.watch import breaking_off, claimed_parent, length_of, who_of


class ModelMetrics(Collector):
    """What calls of models have that calls of tools have not."""

    def __init__(self) -> None:
        self._first_bytes = Durations()
        self._attempts: Counter[str] = Counter()
        self._tokens: Counter[tuple[str, str]] = Counter()

    def note_first_byte(self, vendor: str, duration_ms: float) -> None:
        """Count how long a caller waited for the first piece of a stream."""
        self._first_bytes.note((vendor,), duration_ms)

    def note_end(self, vendor: str, attempts: int, used: Tokens | None) -> None:
        """Count how often the vendor was asked, and what it says was used."""
        self._attempts[vendor] += attempts
        if used is None:
            return
        for kind, count in (
            ("input", used.fresh),
            ("output", used.output),
            ("cache_read", used.cache_read),
            ("cache_write", used.cache_write_5m + used.cache_write_1h),
        ):
            self._tokens[vendor, kind] += count

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        yield self._first_bytes.family(
            "slipway_model_first_byte_seconds", "How long the first piece of a stream took.", ["vendor"]
        )
        attempts = CounterMetricFamily(
            "slipway_model_attempts", "Requests for an answer that went to vendors.", labels=["vendor"]
        )
        for vendor, count in sorted(self._attempts.items()):
            attempts.add_metric([vendor], count)
        yield attempts
        tokens = CounterMetricFamily(
            "slipway_model_tokens", "Tokens, as the vendors count them.", labels=["vendor", "kind"]
        )
        for labels, count in sorted(self._tokens.items()):
            tokens.add_metric(labels, count)
        yield tokens


MODEL_METRICS = ModelMetrics()
"""Of this process."""


class ModelWatch:
    """One request to the proxy, and what is known of how it went. It is a call once it `asks` a model."""

    def __init__(self, task: Task, vendor: str, scope: Scope) -> None:
        self._task, self._vendor = task, vendor
        self._started_at, self._began = now(), time.perf_counter()
        self._duration_ms: float | None = None
        self._has_begun_to_answer = False
        self.asks: str | None = None
        """The model that is asked, `UNKNOWN` while the request is not read; None for what asks none."""
        self.code = ""
        self.attempts = 0
        self.used: Tokens | None = None
        self.request_bytes = length_of(scope)
        self.result_bytes = 0

    def piece(self, size_bytes: int) -> None:
        """Note a piece of a stream that was passed on."""
        if not self._has_begun_to_answer:
            self._has_begun_to_answer = True
            MODEL_METRICS.note_first_byte(self._vendor, elapsed_ms(self._began))
        self.result_bytes += size_bytes

    def stop(self, code: str) -> None:
        """Note that the answer has ended, and how; what follows does not count as its time."""
        self.code, self._duration_ms = code, elapsed_ms(self._began)

    def describe(self) -> None:
        """Say in the current span how it went."""
        if self.asks is not None and tracing.is_on():
            tracing.note(outcome=outcome_of(self.code).value, code=self.code, attempts=self.attempts)

    def record(self) -> None:
        """Put the call on record."""
        if self.asks is None:
            return
        MODEL_METRICS.note_end(self._vendor, self.attempts, self.used)
        CALL_LOG.note(
            who_of(self._task).record(
                CallKind.MODEL,
                self._vendor,
                self.asks,
                code=self.code,
                started_at=self._started_at,
                duration_ms=elapsed_ms(self._began) if self._duration_ms is None else self._duration_ms,
                request_bytes=self.request_bytes,
                result_bytes=self.result_bytes,
                attempts=self.attempts,
            )
        )


@contextlib.contextmanager
def model_watched(task: Task, vendor: str, scope: Scope) -> Iterator[ModelWatch]:
    """Frame one request from a good token to the last byte of its answer, whatever becomes of it."""
    watch = ModelWatch(task, vendor, scope)
    link = claimed_parent(scope)
    try:
        with tracing.span("model.call", parent=task.traceparent, link=link, vendor=vendor):
            try:
                with breaking_off(watch):
                    yield watch
            finally:
                watch.describe()
    finally:
        watch.record()
