"""How often tools may be called: by one task, one tool of it, one organisation. Token buckets in Redis.

A process takes several tokens at a time and spends them without asking again, so that a limit never lets more through
than it says, whatever the number of gateways, and costs a round trip for each tenth of a burst. Without Redis each
process keeps buckets of its own: agents go on, and the limit holds for each gateway by itself.
Source: docs/observability.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import redis.asyncio as redis
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from redis.commands.core import AsyncScript

from services.kit.environment import environment

log = logging.getLogger(__name__)

REDIS_TIMEOUT_S = 0.25
ALONE_S = 1.0
LEASED_SHARE = 10
MOST_LEASED = 100
MOST_BUCKETS = 20_000

# All of the buckets or none: a call that one of them refuses takes nothing from the others.
_TAKE = """
local at = redis.call('TIME')
local now = at[1] + at[2] / 1e6
local left = {}
for i, key in ipairs(KEYS) do
  local rate, burst = tonumber(ARGV[i * 3 - 2]), tonumber(ARGV[i * 3 - 1])
  local row = redis.call('HMGET', key, 'n', 'at')
  local n = burst
  if row[1] then n = math.min(burst, row[1] + math.max(0, now - row[2]) * rate) end
  if n < 1 then return {0, i, tostring((1 - n) / rate)} end
  left[i] = n
end
local taken = {1}
for i, key in ipairs(KEYS) do
  local rate, burst = tonumber(ARGV[i * 3 - 2]), tonumber(ARGV[i * 3 - 1])
  local n = math.min(math.floor(left[i]), tonumber(ARGV[i * 3]))
  redis.call('HSET', key, 'n', tostring(left[i] - n), 'at', tostring(now))
  redis.call('PEXPIRE', key, math.ceil(burst / rate * 1000) + 1000)
  taken[i + 1] = n
end
return taken
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second in the long run, and so many at once after a pause."""

    per_s: float
    burst: int

    @property
    def refill_s(self) -> float:
        """Return after how long an empty bucket is full again."""
        return self.burst / self.per_s


@dataclass(frozen=True, slots=True)
class Limit:
    """One bucket: its name in Redis, its rate, and what of a caller it limits, for the error."""

    key: str
    rate: Rate
    what: str


@dataclass(slots=True)
class Exceeded:
    """A limit that is reached, and when to come back."""

    limit: Limit
    retry_after_s: float


@dataclass(slots=True)
class _Lease:
    left: int
    until: float


class Bucket:
    """A token bucket of this process."""

    __slots__ = ("at", "left")

    def __init__(self, rate: Rate) -> None:
        self.left, self.at = float(rate.burst), time.monotonic()

    def wait_s(self, rate: Rate) -> float:
        """Return 0 when a token can be taken now, else after how many seconds."""
        moment = time.monotonic()
        self.left = min(float(rate.burst), self.left + (moment - self.at) * rate.per_s)
        self.at = moment
        return 0.0 if self.left >= 1 else (1 - self.left) / rate.per_s


class Limits(Collector):
    """The leases of this process, and its own buckets for the time without Redis."""

    def __init__(self) -> None:
        self._leases: dict[str, _Lease] = {}
        self._buckets: dict[str, Bucket] = {}
        self._scripts: dict[asyncio.AbstractEventLoop, AsyncScript] = {}
        self._alone_until = 0.0
        self.exceeded: dict[str, int] = {}
        self.alone = 0

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Hold the connection to Redis."""
        loop = asyncio.get_running_loop()
        url = environment().redis_url.get_secret_value()
        async with redis.Redis.from_url(
            url, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S
        ) as client:
            self._scripts[loop] = client.register_script(_TAKE)
            try:
                yield
            finally:
                del self._scripts[loop]

    async def admit(self, limits: Sequence[Limit]) -> Exceeded | None:
        """Take one token of each bucket, or of none; None when all had one."""
        if self._spend(limits):
            return None
        exceeded = await self._lease(limits)
        if exceeded is not None:
            what = exceeded.limit.what
            self.exceeded[what] = self.exceeded.get(what, 0) + 1
        return exceeded

    def admit_here(self, limit: Limit) -> Exceeded | None:
        """Take one token of a bucket that is this process's own; for what protects the process itself."""
        return self._take_alone([limit])

    def _spend(self, limits: Sequence[Limit]) -> bool:
        moment = time.monotonic()
        leases = [self._leases.get(limit.key) for limit in limits]
        if any(lease is None or lease.left < 1 or lease.until < moment for lease in leases):
            return False
        for lease in leases:
            if lease is not None:
                lease.left -= 1
        return True

    async def _lease(self, limits: Sequence[Limit]) -> Exceeded | None:
        script = self._scripts.get(asyncio.get_running_loop())
        moment = time.monotonic()
        if script is None or moment < self._alone_until:
            self.alone += 1
            return self._take_alone(limits)
        short = [limit for limit in limits if not self._has(limit, moment)]
        # Taken before the question, as others may spend while it is under way.
        held = [self._leases[limit.key] for limit in limits if limit not in short]
        for lease in held:
            lease.left -= 1
        try:
            exceeded = await self._ask(script, short)
        except (redis.RedisError, OSError) as error:
            log.warning("limits are kept by each gateway alone for a while: %s", error)
            self._alone_until = time.monotonic() + ALONE_S
            self.alone += 1
            return self._take_alone(limits)
        if exceeded is not None:
            for lease in held:
                lease.left += 1
        return exceeded

    async def _ask(self, script: AsyncScript, short: Sequence[Limit]) -> Exceeded | None:
        arguments: list[str | int | float] = []
        for limit in short:
            share = min(MOST_LEASED, max(1, limit.rate.burst // LEASED_SHARE))
            arguments += [limit.rate.per_s, limit.rate.burst, share]
        answer = await script(keys=[limit.key for limit in short], args=arguments)
        if not answer[0]:
            return Exceeded(short[answer[1] - 1], float(answer[2]))
        for limit, taken in zip(short, answer[1:], strict=True):
            self._add(limit, int(taken) - 1)
        return None

    def _has(self, limit: Limit, moment: float) -> bool:
        lease = self._leases.get(limit.key)
        return lease is not None and lease.left >= 1 and lease.until >= moment

    def _add(self, limit: Limit, taken: int) -> None:
        if len(self._leases) >= MOST_BUCKETS:
            moment = time.monotonic()
            self._leases = {key: lease for key, lease in self._leases.items() if lease.until >= moment}
        lease = self._leases.get(limit.key)
        # A lease that was not used within the time in which its bucket is full again is worth nothing.
        until = time.monotonic() + limit.rate.refill_s
        if lease is None or lease.until < time.monotonic():
            self._leases[limit.key] = _Lease(taken, until)
        else:
            lease.left, lease.until = lease.left + taken, until

    def _take_alone(self, limits: Sequence[Limit]) -> Exceeded | None:
        if len(self._buckets) >= MOST_BUCKETS:
            self._buckets.clear()
        buckets = []
        for limit in limits:
            bucket = self._buckets.get(limit.key)
            if bucket is None:
                bucket = self._buckets[limit.key] = Bucket(limit.rate)
            wait_s = bucket.wait_s(limit.rate)
            if wait_s:
                return Exceeded(limit, wait_s)
            buckets.append(bucket)
        for bucket in buckets:
            bucket.left -= 1
        return None

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        exceeded = CounterMetricFamily(
            "slipway_mcp_limits_exceeded", "Calls that a limit refused.", labels=["limit"]
        )
        for what, count in sorted(self.exceeded.items()):
            exceeded.add_metric([what], count)
        yield exceeded
        yield CounterMetricFamily(
            "slipway_mcp_limits_alone",
            "Calls counted by this process alone, without Redis.",
            value=self.alone,
        )


LIMITS = Limits()
"""Of this process."""


def limits_of_call(
    org_id: uuid.UUID,
    caller_id: uuid.UUID,
    server: str,
    tool: str,
    rate: Rate | None = None,
    *,
    caller: Literal["task", "token"] = "task",
) -> list[Limit]:
    """Return what limits one call of a tool: its own rate or the usual one, the caller's, the organisation's."""
    env = environment()
    # One hash tag for the three, so that they lie together in a cluster of Redis servers.
    prefix = f"slipway:rate:{{{org_id}}}"
    return [
        Limit(
            f"{prefix}:{caller_id}:{server}:{tool}",
            rate or Rate(env.mcp_tool_per_s, env.mcp_tool_burst),
            "tool",
        ),
        Limit(f"{prefix}:{caller_id}", Rate(env.mcp_task_per_s, env.mcp_task_burst), caller),
        Limit(prefix, Rate(env.mcp_org_per_s, env.mcp_org_burst), "organisation"),
    ]


def flood_limit(who: str) -> Limit:
    """Return what limits the requests of one caller, whatever they are, at one gateway."""
    env = environment()
    return Limit(f"flood:{who}", Rate(env.mcp_flood_per_s, env.mcp_flood_burst), "flood")
