"""Live streams and wake-ups over Redis. Nothing here is durable, and every reader can do without it."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import redis

from services.kit.environment import environment

log = logging.getLogger(__name__)

STREAM_LENGTH = 2_000
STREAM_TTL_S = 3_600
ACCESS_CHANNEL = "slipway:nudge:access"
"""Where it is said that somebody's access has changed: by `nudge("access")`."""


@functools.cache
def _client() -> redis.Redis:
    """Return the process's client. Short timeouts: a lost wake-up costs a sweep, a hanging one costs a request."""
    return redis.Redis.from_url(
        environment().redis_url.get_secret_value(), socket_timeout=2, socket_connect_timeout=1
    )


def stream_key(stream: str) -> str:
    """Return the Redis key under which a stream's live entries lie."""
    return f"slipway:stream:{stream}"


def publish_envelopes(envelopes: Iterable[Mapping[str, Any]]) -> None:
    """Append envelopes to their streams' live logs. Never raises: readers repair what is lost from PostgreSQL."""
    try:
        with _client().pipeline(transaction=False) as pipe:
            for envelope in envelopes:
                key = stream_key(envelope["stream"])
                pipe.xadd(
                    key,
                    {"e": json.dumps(envelope, separators=(",", ":"))},
                    maxlen=STREAM_LENGTH,
                    approximate=True,
                )
                pipe.expire(key, STREAM_TTL_S)
            pipe.execute()
    except redis.RedisError as error:
        log.warning("live envelopes not published: %s", error)


def nudge(channel: str, message: str = "") -> None:
    """Wake whoever waits on a channel. Never raises; the waiter polls as well."""
    try:
        _client().publish(f"slipway:nudge:{channel}", message)
    except redis.RedisError as error:
        log.warning("nudge of %s not sent: %s", channel, error)


def client() -> redis.Redis:
    """Return the shared client, for callers that handle Redis being away themselves."""
    return _client()
