"""Reading the live logs of many streams from Redis with one blocking call."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from services.kit.redisbus import STREAM_LENGTH, stream_key

log = logging.getLogger(__name__)

FROM_THE_START = "0-0"
BLOCK_MS = 5_000
ENTRIES_AT_ONCE = 256
LIVE_LOG_ERRORS = (RedisError, OSError, TimeoutError)
_QUICK_S = 2.0
_PAGE = 64
# Texts of before these are settled. A text that says so too ends the search too early: then it begins in its middle.
_BEGINNINGS = (b'"type":"turn.started"', b'"type":"turn.done"', b'"type":"task.finished"')
_CONTROL_TTL_S = 3_600


class LiveLog:
    """Two clients: one that blocks in XREAD, with a socket timeout above the block, and one for quick questions.

    A stream that is added while the reader blocks reaches it through a private control stream.
    """

    def __init__(self, url: str) -> None:
        name = uuid.uuid4().hex
        self._control = f"slipway:realtime:control:{name}"
        self._control_position = FROM_THE_START
        self.client_name = f"slipway-realtime-{name}"
        self._reader = _client(url, self.client_name, connections=1, timeout_s=BLOCK_MS / 1000 + 5)
        self._quick = _client(url, f"{self.client_name}-quick", connections=8, timeout_s=_QUICK_S)

    async def read(self, positions: Mapping[str, str]) -> dict[str, list[tuple[str, bytes]]]:
        """Wait for entries beyond the positions, or a wake-up, or the end of the block.

        Returns by stream the entries' ids and envelopes. Raises: RedisError, OSError.
        """
        streams = {stream_key(stream): stream for stream in positions}
        keys = {key: positions[stream] for key, stream in streams.items()}
        keys[self._control] = self._control_position
        answer = await self._reader.xread(keys, count=ENTRIES_AT_ONCE, block=BLOCK_MS)  # type: ignore[arg-type]
        found: dict[str, list[tuple[str, bytes]]] = {}
        for key, entries in _by_key(answer):
            if key == self._control:
                self._control_position = entries[-1][0]
            else:
                found[streams[key]] = entries
        return found

    async def wake(self) -> None:
        """Make a blocked `read` return. Never raises: without Redis nothing blocks."""
        try:
            async with self._quick.pipeline(transaction=False) as pipe:
                pipe.xadd(self._control, {"e": b""}, maxlen=1, approximate=False)
                pipe.expire(self._control, _CONTROL_TTL_S)
                await pipe.execute()
        except LIVE_LOG_ERRORS as error:
            log.debug("the reader was not woken: %s", error)

    async def tail(self, stream: str) -> str:
        """Return the position behind a stream's last entry; the start when Redis does not say."""
        try:
            last = await self._quick.xrevrange(stream_key(stream), count=1)
        except LIVE_LOG_ERRORS:
            return FROM_THE_START
        return _text(last[0][0]) if last else FROM_THE_START

    async def before(self, stream: str, position: str) -> list[bytes]:
        """Return a stream's entries up to a position, in order, from where its last turn began; [] without Redis."""
        found: list[bytes] = []
        end = position
        try:
            while len(found) < STREAM_LENGTH:
                page: Any = await self._quick.xrevrange(stream_key(stream), max=end, count=_PAGE)
                for entry_id, fields in page:
                    end = f"({_text(entry_id)}"
                    found.append(fields.get(b"e", b""))
                    if any(mark in found[-1] for mark in _BEGINNINGS):
                        return found[::-1]
                if len(page) < _PAGE:
                    break
        except LIVE_LOG_ERRORS:
            return []
        return found[::-1]

    async def now_ms(self) -> int:
        """Return the server's clock, from which it makes ids. Raises: RedisError, OSError."""
        seconds, microseconds = await self._quick.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def close(self) -> None:
        """Close both clients."""
        await self._reader.aclose()
        await self._quick.aclose()


def not_after(position: str, now_ms: int) -> str:
    """Return the position, or one of now if it lies in the future: a new server's clock may be behind the old one's."""
    milliseconds = int(position.partition("-")[0])
    return position if milliseconds <= now_ms else f"{now_ms}-0"


def _client(url: str, name: str, *, connections: int, timeout_s: float) -> Redis:
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=_QUICK_S,
        socket_timeout=timeout_s,
        socket_connect_timeout=_QUICK_S,
        client_name=name,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)


def _by_key(answer: Any) -> list[tuple[str, list[tuple[str, bytes]]]]:
    """Flatten the answer of XREAD: protocol 3 gives a dictionary of lists of lists, protocol 2 a list of pairs."""
    if not answer:
        return []
    if isinstance(answer, dict):
        pairs = [(key, [entry for batch in batches for entry in batch]) for key, batches in answer.items()]
    else:
        pairs = [(key, entries) for key, entries in answer]
    return [
        (_text(key), [(_text(entry_id), fields.get(b"e", b"")) for entry_id, fields in entries])
        for key, entries in pairs
    ]


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or FROM_THE_START
