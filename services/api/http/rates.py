"""How many requests a token, and an organisation, may send: token buckets in Redis, told on every answer.

Source of the headers: draft-ietf-httpapi-ratelimit-headers-10. Without Redis nothing is refused, and only the policy
is told.
"""

from __future__ import annotations

import functools
import logging
import math
import time
from dataclasses import dataclass

import redis
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from redis.commands.core import Script

from services.domain.actors import Actor
from services.domain.errors import RateLimited
from services.kit.environment import environment
from services.kit.redisbus import client

log = logging.getLogger(__name__)

RATE_LIMIT = "RateLimit"
RATE_LIMIT_POLICY = "RateLimit-Policy"
_ALONE_S = 1.0

# All of the buckets or none. Answers for each: what is left, and in how many seconds it is full again.
_TAKE = """
local at = redis.call('TIME')
local now = at[1] + at[2] / 1e6
local left, refused = {}, 0
for i, key in ipairs(KEYS) do
  local rate, burst = tonumber(ARGV[i * 2 - 1]), tonumber(ARGV[i * 2])
  local row = redis.call('HMGET', key, 'n', 'at')
  local n = burst
  if row[1] then n = math.min(burst, row[1] + math.max(0, now - row[2]) * rate) end
  if n < 1 and refused == 0 then refused = i end
  left[i] = n
end
local told = {refused}
for i, key in ipairs(KEYS) do
  local rate, burst = tonumber(ARGV[i * 2 - 1]), tonumber(ARGV[i * 2])
  local n = left[i]
  if refused == 0 then
    n = n - 1
    redis.call('HSET', key, 'n', tostring(n), 'at', tostring(now))
    redis.call('PEXPIRE', key, math.ceil(burst / rate * 1000) + 1000)
  end
  told[i + 1] = tostring(n)
end
return told
"""


@dataclass(frozen=True, slots=True)
class Bucket:
    """One limit: its name for the caller, its key in Redis, its rate, and how many may come at once."""

    name: str
    key: str
    per_s: float
    burst: int

    @property
    def policy(self) -> str:
        """Return it as the header puts it: so many in so many seconds."""
        return f'"{self.name}";q={self.burst};w={max(1, round(self.burst / self.per_s))}'

    def told(self, left: float) -> str:
        """Return what is left of it as the header puts it, and in how many seconds it is whole again."""
        return f'"{self.name}";r={max(0, int(left))};t={math.ceil((self.burst - left) / self.per_s)}'


class _Pause:
    """Until when this process does not ask a Redis that did not answer."""

    until = 0.0


def count_request(request: HttpRequest, actor: Actor) -> None:
    """Count a request of an actor. Raises: RateLimited."""
    buckets = _buckets(actor)
    request.rate_headers = {RATE_LIMIT_POLICY: ", ".join(bucket.policy for bucket in buckets)}  # type: ignore[attr-defined]
    left = _take(buckets)
    if left is None:
        return
    refused, amounts = left
    told = [bucket.told(amount) for bucket, amount in zip(buckets, amounts, strict=True)]
    request.rate_headers[RATE_LIMIT] = ", ".join(told)  # type: ignore[attr-defined]
    if refused:
        bucket, amount = buckets[refused - 1], amounts[refused - 1]
        raise RateLimited("Too many requests.", retry_after_s=(1 - amount) / bucket.per_s, limit=bucket.name)


def tell_rates(request: HttpRequest, response: HttpResponseBase) -> None:
    """Put what is left into an answer's headers."""
    for name, value in getattr(request, "rate_headers", {}).items():
        response[name] = value


def _buckets(actor: Actor) -> list[Bucket]:
    env = environment()
    # One hash tag for the two, so that they lie together in a cluster of Redis servers.
    prefix = f"slipway:requests:{{{actor.org_id}}}"
    return [
        Bucket("token", f"{prefix}:{actor.key}", env.api_token_per_s, env.api_token_burst),
        Bucket("organisation", prefix, env.api_org_per_s, env.api_org_burst),
    ]


@functools.cache
def _script() -> Script:
    return client().register_script(_TAKE)


def _take(buckets: list[Bucket]) -> tuple[int, list[float]] | None:
    if time.monotonic() < _Pause.until:
        return None
    numbers = [number for bucket in buckets for number in (bucket.per_s, bucket.burst)]
    try:
        refused, *amounts = _script()(keys=[bucket.key for bucket in buckets], args=numbers)
    except redis.RedisError as error:
        log.warning("requests are not counted for a moment: %s", error)
        _Pause.until = time.monotonic() + _ALONE_S
        return None
    return int(refused), [float(amount) for amount in amounts]
