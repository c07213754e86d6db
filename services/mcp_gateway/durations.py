"""How long things took, as a histogram for Prometheus."""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Sequence

from prometheus_client.core import HistogramMetricFamily

BUCKETS_MS = (1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1_000.0, 5_000.0, 30_000.0, 120_000.0)
_EDGES = (*(str(edge / 1_000) for edge in BUCKETS_MS), "+Inf")


class Durations:
    """Sums of durations by labels; noting one costs a microsecond."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, ...], list[int]] = {}
        self._sums_ms: Counter[tuple[str, ...]] = Counter()

    def note(self, labels: tuple[str, ...], duration_ms: float) -> None:
        """Count one."""
        buckets = self._buckets.get(labels)
        if buckets is None:
            buckets = self._buckets[labels] = [0] * len(_EDGES)
        buckets[bisect.bisect_left(BUCKETS_MS, duration_ms)] += 1
        self._sums_ms[labels] += duration_ms  # type: ignore[assignment]  # a Counter adds floats as well

    def family(self, name: str, documentation: str, labels: Sequence[str]) -> HistogramMetricFamily:
        """Return all of them as one metric, in seconds."""
        family = HistogramMetricFamily(name, documentation, labels=labels)
        for values, counts in sorted(self._buckets.items()):
            below = list(zip(_EDGES, map(float, itertools.accumulate(counts)), strict=True))
            family.add_metric(values, below, self._sums_ms[values] / 1_000)
        return family
