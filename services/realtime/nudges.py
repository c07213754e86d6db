"""Hearing at once that somebody may have lost access, instead of at the next look."""

from __future__ import annotations

import asyncio
import logging

from redis.asyncio import Redis

from services.kit.redisbus import ACCESS_CHANNEL
from services.realtime.livelog import LIVE_LOG_ERRORS

log = logging.getLogger(__name__)

_BACKOFF_S = 2.0


async def hear_access_changes(url: str, changed: asyncio.Event) -> None:
    """Set the event whenever anybody's access has changed, for ever. What is missed costs a look that comes anyway."""
    while True:
        try:
            async with (
                Redis.from_url(url, socket_timeout=None) as client,
                client.pubsub(ignore_subscribe_messages=True) as pubsub,
            ):
                await pubsub.subscribe(ACCESS_CHANNEL)
                changed.set()
                async for _ in pubsub.listen():
                    changed.set()
        except LIVE_LOG_ERRORS as error:
            log.debug("changes of access are not heard: %s", error)
        await asyncio.sleep(_BACKOFF_S)
