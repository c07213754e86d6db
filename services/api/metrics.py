"""What this process counts, in Prometheus form."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

_requests = Counter(
    "slipway_api_requests_total", "Requests answered, by route and status.", ["method", "route", "status"]
)
_seconds = Histogram(
    "slipway_api_request_seconds",
    "Time from the request's first line to the answer's.",
    ["route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
_hooks = Counter(
    "slipway_api_hooks_total", "Webhook calls, by platform and what became of them.", ["kind", "outcome"]
)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count one answered request. `route` is the pattern, so that ids do not become labels."""
    _requests.labels(method if method in _METHODS else "other", route, str(status)).inc()
    _seconds.labels(route).observe(seconds)


def count_hook(kind: str, outcome: str) -> None:
    """Count one webhook call. `kind` is a platform that exists, `outcome` one of a few words."""
    _hooks.labels(kind, outcome).inc()
