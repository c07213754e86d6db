"""When a call that failed is made again, and after how long. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass

from slipway_client.errors import ApiError, ConnectionFailed, SlipwayError

_REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_PASSING = frozenset({500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a call is made in all, and the shortest and longest wait between two."""

    attempts: int = 5
    first_wait_s: float = 0.5
    longest_wait_s: float = 60.0

    def wait_s(self, tried: int, error: SlipwayError, *, is_repeatable: bool) -> float | None:
        """Return how long to wait after `tried` attempts; None when there is nothing to wait for.

        A server's Retry-After is kept to: never asked before, and not waited for when it is too far away.
        """
        if tried >= self.attempts or not _may_pass(error, is_repeatable=is_repeatable):
            return None
        # Full jitter: callers that failed together do not come back together.
        chosen = random.uniform(0, min(self.first_wait_s * 2.0**tried, self.longest_wait_s))  # noqa: S311
        asked = error.retry_after_s if isinstance(error, ApiError) else None
        if asked is None:
            return chosen
        return None if asked > self.longest_wait_s else asked + min(chosen, 1.0)


def is_repeatable(method: str, idempotency_key: str | None) -> bool:
    """Say whether making the call twice does what making it once does."""
    return method in _REPEATABLE or idempotency_key is not None


def _may_pass(error: SlipwayError, *, is_repeatable: bool) -> bool:
    if isinstance(error, ApiError):
        # A limit is refused before anything is done; a key in use is that of an earlier attempt still at work.
        return error.status == 429 or (
            is_repeatable and (error.status in _PASSING or error.code == "idempotency_key_in_use")
        )
    return isinstance(error, ConnectionFailed) and is_repeatable
