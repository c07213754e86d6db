"""Slows down guessing of passwords: after some failures in a row, an e-mail address waits at that address's IP."""

from __future__ import annotations

import hashlib
import logging
import math

import redis

from services.domain.errors import RateLimited
from services.kit.redisbus import client

log = logging.getLogger(__name__)

MAX_FAILURES = 5
WINDOW_S = 900


def count_attempt(email: str, address: str) -> None:
    """Count an attempt to sign in before the password is looked at. Raises: RateLimited.

    Counted first and forgiven on success, so that attempts at the same moment cannot all pass. With Redis away
    nobody is locked out: the password's slow hash is then the only brake.
    """
    key = _key(email, address)
    try:
        with client().pipeline(transaction=True) as pipe:
            pipe.incr(key)
            pipe.expire(key, WINDOW_S, nx=True)
            pipe.ttl(key)
            count, _, ttl = pipe.execute()
    except redis.RedisError as error:
        log.warning("sign-in attempts are not counted: %s", error)
        return
    if count > MAX_FAILURES:
        wait_s = max(int(ttl), 1)
        minutes = math.ceil(wait_s / 60)
        unit = "minute" if minutes == 1 else "minutes"
        raise RateLimited(
            f"Too many failed attempts for this address. Try again in {minutes} {unit}.", retry_after_s=wait_s
        )


def forget_attempts(email: str, address: str) -> None:
    """Start again from none, after a success."""
    try:
        client().delete(_key(email, address))
    except redis.RedisError as error:
        log.warning("sign-in attempts are not forgotten: %s", error)


def _key(email: str, address: str) -> str:
    digest = hashlib.sha256(f"{email.strip().lower()}|{address}".encode()).hexdigest()
    return f"slipway:signin:{digest}"
