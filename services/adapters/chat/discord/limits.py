"""Discord's limits as its answers tell them: a bucket for each kind of call in each channel, and one of the bot.

A call that would be refused is not made: each 429 counts against the address that it comes from.
Source: https://docs.discord.com/developers/topics/rate-limits
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

# Buckets whose time is over are forgotten when there are this many.
_MANY = 10_000


@dataclass(frozen=True, slots=True)
class Route:
    """A call as Discord counts it: its form, and the channel or webhook that it is about. `bot` tells bots apart."""

    bot: str
    form: str
    place: str = ""


@dataclass(slots=True)
class _Bucket:
    remaining: int
    resets_at: float


class Limits:
    """What is known of the limits, for all threads of the process. Times are of the monotonic clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: dict[tuple[str, str], str] = {}
        self._buckets: dict[tuple[str, str, str], _Bucket] = {}
        self._blocked_until: dict[str, float] = {}

    def take(self, route: Route) -> float:
        """Take one call of a route's bucket; returns 0, or how many seconds until there is one."""
        now = time.monotonic()
        with self._lock:
            blocked_s = self._blocked_until.get(route.bot, 0.0) - now
            if blocked_s > 0:
                return blocked_s
            bucket = self._buckets.get(self._key(route))
            if bucket is None or bucket.resets_at <= now:
                return 0.0
            if bucket.remaining <= 0:
                return bucket.resets_at - now
            bucket.remaining -= 1
            return 0.0

    def learn(self, route: Route, headers: Mapping[str, str]) -> None:
        """Note what an answer's headers say of its bucket."""
        name = headers.get("x-ratelimit-bucket")
        try:
            remaining = int(headers["x-ratelimit-remaining"])
            reset_after_s = float(headers["x-ratelimit-reset-after"])
        except (KeyError, ValueError):
            return
        now = time.monotonic()
        with self._lock:
            if name:
                self._names[route.bot, route.form] = name
            known = self._buckets.get(self._key(route))
            # Answers overtake one another: within one period fewer calls are left, never more.
            if known is not None and known.resets_at > now:
                remaining = min(remaining, known.remaining)
            self._forget_old(now)
            self._buckets[self._key(route)] = _Bucket(remaining, now + reset_after_s)

    def block(self, route: Route, seconds: float, *, is_global: bool) -> None:
        """Note that Discord refused a call for this long: all of the bot's, or those of the route."""
        until = time.monotonic() + seconds
        with self._lock:
            if is_global:
                self._blocked_until[route.bot] = until
            else:
                self._buckets[self._key(route)] = _Bucket(0, until)

    def _key(self, route: Route) -> tuple[str, str, str]:
        return (route.bot, self._names.get((route.bot, route.form), route.form), route.place)

    def _forget_old(self, now: float) -> None:
        if len(self._buckets) >= _MANY:
            self._buckets = {key: one for key, one in self._buckets.items() if one.resets_at > now}
