"""What tokens were found to be good a moment ago, so that a call need not ask the database again.

A token dies with its task all the same: whatever ends a task or revokes its tokens nudges, and its entries are dropped
at once. Nothing is kept while nudges cannot be heard, and nothing for longer than TTL_S. Source: ADR 0013.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import redis.asyncio as redis
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from services.domain.tasks.tokens import TOKENS_CHANNEL
from services.kit.clock import now
from services.kit.environment import environment
from services.kit.tokens import hash_token

if TYPE_CHECKING:
    from services.mcp_gateway.callers import AgentCaller

log = logging.getLogger(__name__)

TTL_S = 1.0
MOST = 20_000
_AGAIN_S = 0.5

Key = tuple[str, str]


@dataclass(slots=True)
class Lookup:
    """One look into the database under way, and the tasks whose tokens died meanwhile."""

    key: Key
    epoch: int
    began_at: float
    dropped: set[uuid.UUID] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Entry:
    caller: AgentCaller
    good_until: float


class CallerCache(Collector):
    """Callers by the hash of their token and its audience; the tokens themselves are not kept."""

    def __init__(self, ttl_s: float = TTL_S) -> None:
        self._ttl_s = ttl_s
        self._entries: dict[Key, _Entry] = {}
        self._keys: dict[uuid.UUID, set[Key]] = {}
        self._under_way: dict[int, Lookup] = {}
        self._hearing = 0
        self._epoch = 0
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        found = CounterMetricFamily("slipway_mcp_callers", "Tokens looked at, by where.", labels=["found"])
        found.add_metric(["memory"], self.hits)
        found.add_metric(["database"], self.misses)
        yield found

    def find(self, token: str, audience: str) -> AgentCaller | None:
        """Return the caller if the token was found good within the last TTL_S."""
        entry = self._entries.get((hash_token(token), audience))
        if entry is None or entry.good_until <= time.monotonic():
            self.misses += 1
            return None
        self.hits += 1
        return entry.caller

    @contextlib.contextmanager
    def lookup(self, token: str, audience: str) -> Iterator[Lookup]:
        """Frame a look into the database; what it finds may be kept with `keep` inside."""
        looking = Lookup((hash_token(token), audience), self._epoch, time.monotonic())
        self._under_way[id(looking)] = looking
        try:
            yield looking
        finally:
            del self._under_way[id(looking)]

    def keep(self, looking: Lookup, caller: AgentCaller, expires_at: datetime) -> None:
        """Remember what a lookup found, unless it may have died since it was read."""
        task_id = caller.task.id
        if not self._hearing or looking.epoch != self._epoch or task_id in looking.dropped:
            return
        if len(self._entries) >= MOST:
            self._make_room()
        left_s = (expires_at - now()).total_seconds()
        # From the beginning of the lookup, not its end: what it read is as old as that.
        good_until = min(looking.began_at + self._ttl_s, time.monotonic() + left_s)
        self._entries[looking.key] = _Entry(caller, good_until)
        self._keys.setdefault(task_id, set()).add(looking.key)

    def drop(self, task_id: uuid.UUID) -> None:
        """Forget the tokens of a task, those that are being looked up included."""
        for key in self._keys.pop(task_id, ()):
            self._entries.pop(key, None)
        for looking in list(self._under_way.values()):
            looking.dropped.add(task_id)

    def hear(self) -> None:
        """Begin to keep callers: nudges are heard from now on."""
        self._hearing += 1
        self.drop_all()

    def go_deaf(self) -> None:
        """Forget all, and keep nothing while nobody else hears nudges."""
        self._hearing -= 1
        self.drop_all()

    def drop_all(self) -> None:
        """Forget everybody, those that are being looked up included."""
        self._epoch += 1
        self._entries.clear()
        self._keys.clear()

    def _make_room(self) -> None:
        moment = time.monotonic()
        for key in [key for key, entry in self._entries.items() if entry.good_until <= moment]:
            task_id = self._entries.pop(key).caller.task.id
            self._keys.get(task_id, set()).discard(key)
        self._keys = {task_id: keys for task_id, keys in self._keys.items() if keys}
        if len(self._entries) >= MOST:
            self._entries.clear()
            self._keys.clear()


CALLERS = CallerCache()
"""Of this process."""


@contextlib.asynccontextmanager
async def listening(cache: CallerCache = CALLERS) -> AsyncIterator[None]:
    """Hear of tokens that die for as long as the block runs."""
    listener = asyncio.create_task(_listen_forever(cache))
    try:
        yield
    finally:
        listener.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listener


async def _listen_forever(cache: CallerCache) -> None:
    while True:
        try:
            await _listen(cache)
        except (redis.RedisError, OSError) as error:
            log.warning("dead tokens are not heard of over Redis, each call asks the database: %s", error)
        await asyncio.sleep(_AGAIN_S)


async def _listen(cache: CallerCache) -> None:
    url = environment().redis_url.get_secret_value()
    async with redis.Redis.from_url(url, socket_timeout=None) as client, client.pubsub() as pubsub:
        await pubsub.subscribe(TOKENS_CHANNEL)
        is_hearing = False
        try:
            async for message in pubsub.listen():
                if message["type"] == "subscribe":
                    # Only now does Redis send us what is published.
                    cache.hear()
                    is_hearing = True
                elif message["type"] == "message":
                    _forget(cache, message["data"].decode())
        finally:
            if is_hearing:
                cache.go_deaf()


def _forget(cache: CallerCache, message: str) -> None:
    """Drop the task that a nudge names; one that names none is for all, as when an organisation is suspended."""
    try:
        cache.drop(uuid.UUID(message))
    except ValueError:
        cache.drop_all()
