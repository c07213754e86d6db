"""What this process counts, in Prometheus' text form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class Counts(Collector):
    """Plain integers, because one is added for every delivery; they become metrics when somebody asks."""

    def __init__(self) -> None:
        self.connections: Counter[str] = Counter()
        self.delivered: Counter[str] = Counter()
        self.fills: Counter[str] = Counter()
        self.overflows = 0
        self.redis_failures = 0
        self.database_failures = 0
        self.streams = 0

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        yield _labelled(
            GaugeMetricFamily("slipway_realtime_connections", "Open connections.", labels=["transport"]),
            self.connections,
        )
        yield _labelled(
            CounterMetricFamily(
                "slipway_realtime_delivered", "Entries sent to clients.", labels=["transport"]
            ),
            self.delivered,
        )
        yield _labelled(
            CounterMetricFamily(
                "slipway_realtime_fills", "Reads of events from the database.", labels=["reason"]
            ),
            self.fills,
        )
        yield GaugeMetricFamily("slipway_realtime_streams", "Streams followed.", value=self.streams)
        for name, help_text, value in (
            ("overflows", "Connections closed because they were too slow.", self.overflows),
            ("redis_failures", "Failed reads of the live log.", self.redis_failures),
            ("database_failures", "Failed reads of the database.", self.database_failures),
        ):
            yield CounterMetricFamily(f"slipway_realtime_{name}", help_text, value=value)

    def text(self) -> bytes:
        """Return all of it in the exposition format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)


def _labelled(family: Metric, values: Counter[str]) -> Metric:
    for label, value in sorted(values.items()):
        family.add_metric([label], value)  # type: ignore[attr-defined]  # both kinds of family have it
    return family
