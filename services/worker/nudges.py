"""Hears of new tasks over Redis, a few milliseconds before the broker brings their jobs."""

from __future__ import annotations

import logging
import time

import redis
from django.db import connections

from services.kit.environment import environment
from services.worker.jobs.dispatching import dispatch_at_once

log = logging.getLogger(__name__)

CHANNEL = "slipway:nudge:dispatch"
AGAIN_S = 1.0


def listen_forever() -> None:
    """Dispatch whenever somebody submits. Redis being away costs the time that a job takes through the broker."""
    while True:
        try:
            _listen()
        except (redis.RedisError, OSError) as error:
            log.warning("new tasks are not heard of over Redis: %s", error)
        time.sleep(AGAIN_S)


def _listen() -> None:
    url = environment().redis_url.get_secret_value()
    with (
        redis.Redis.from_url(url, socket_timeout=None) as client,
        client.pubsub(ignore_subscribe_messages=True) as pubsub,
    ):
        pubsub.subscribe(CHANNEL)
        for _ in pubsub.listen():
            while pubsub.get_message(timeout=0) is not None:
                pass  # one round serves all who came meanwhile
            _dispatch()


def _dispatch() -> None:
    try:
        dispatch_at_once()
    except Exception:
        log.exception("a round of dispatching failed; the job does it again")
    finally:
        connections.close_all()
