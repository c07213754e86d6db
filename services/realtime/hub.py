"""The hub: one reader of Redis and one sweep of PostgreSQL per process, fanning out to all its connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Coroutine, Set
from typing import Any

from services.domain.actors import Actor
from services.domain.errors import CursorInvalid, Temporary
from services.realtime.counts import Counts
from services.realtime.entry import Entry, parse_live_log, resync
from services.realtime.feed import Feed, Subscription, in_chunks
from services.realtime.livelog import LIVE_LOG_ERRORS, LiveLog, not_after
from services.realtime.outlet import Outlet
from services.realtime.rows import Kept, Rows

log = logging.getLogger(__name__)

# What has just been committed is usually on its way through Redis: the sweep leaves it that long.
_GRACE_S = 0.05
_LONGEST_BACKOFF_S = 2.0
_FIRST_BACKOFF_S = 0.1
# After that many entries the writers get their turn; far below the bound of their queues.
_CHUNK = 64


class Hub:
    """Follows every stream that somebody here is subscribed to.

    PostgreSQL is the truth. Redis only makes it fast: what it loses, repeats or reorders is put right by `Feed`,
    by the fills that it asks for, and by the sweep.
    """

    def __init__(self, rows: Rows, live_log: LiveLog, counts: Counts, *, sweep_every_s: float) -> None:
        self._rows = rows
        self._live_log = live_log
        self._counts = counts
        self._sweep_every_s = sweep_every_s
        self._feeds: dict[tuple[uuid.UUID, str], Feed] = {}
        self._replays: dict[Subscription, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_waking = False
        self.is_redis_up = True

    def start(self) -> None:
        """Start the reader and the sweep."""
        self._spawn(_kept_going(self._read_for_ever))
        self._spawn(_kept_going(self._sweep_for_ever))

    async def stop(self) -> None:
        """Stop everything that the hub has started."""
        tasks = [*self._tasks, *self._replays.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def open(self, actor: Actor, stream: str, outlet: Outlet) -> tuple[Subscription, Kept]:
        """Make a subscription that gets nothing yet, and say what is kept. Raises: Missing, ScopeMissing.

        The place in Redis is taken before the look into the database: what is committed in between is in both.
        """
        key = (actor.org_id, stream)
        is_followed = key in self._feeds
        position, earlier = "", []
        if not is_followed:
            position = await self._live_log.tail(stream)
            earlier = await self._live_log.before(stream, position)
        kept = await self._rows.look(actor, stream)
        feed = self._feeds.get(key)
        if feed is None:
            if is_followed:
                # The last other subscription ended meanwhile, and the place in Redis with it.
                return await self.open(actor, stream, outlet)
            feed = Feed(stream, actor.org_id, seq=kept.head, position=position)
            feed.remember(entry for raw in earlier if (entry := parse_live_log(raw)) is not None)
            self._feeds[key] = feed
            self._wake_reader()
        subscription = Subscription(feed, actor, outlet)
        feed.members.add(subscription)
        self._counts.streams = len(self._feeds)
        return subscription, kept

    def replay_then_follow(self, subscription: Subscription, after: int) -> None:
        """Give the subscription everything above a number, in order, once, and then what comes."""
        subscription.seq = after
        task = asyncio.create_task(self._replay(subscription))
        self._replays[subscription] = task
        task.add_done_callback(lambda ended: self._end_of_replay(subscription, ended))

    def follow(self, subscription: Subscription) -> None:
        """Give the subscription what comes from now on."""
        subscription.seq = subscription.feed.seq
        subscription.feed.attach(subscription)

    def close(self, subscription: Subscription) -> None:
        """End a subscription; the last one of a stream ends the following of it."""
        task = self._replays.pop(subscription, None)
        if task is not None:
            task.cancel()
        feed = subscription.feed
        feed.drop(subscription)
        key = (feed.org_id, feed.stream)
        if not feed.members and self._feeds.get(key) is feed:
            del self._feeds[key]
        self._counts.streams = len(self._feeds)

    async def end_streams_of_what_is_gone(self) -> None:
        """Tell who follows the stream of a workspace that was deleted, once, that it has ended. Raises: Temporary."""
        followed = {key: uuid.UUID(key[1].partition(":")[2]) for key in self._feeds if key[1][0] == "w"}
        if not followed:
            return
        existing = await self._rows.existing(sorted(set(followed.values())))
        for key in [key for key, workspace_id in followed.items() if workspace_id not in existing]:
            feed = self._feeds.get(key)
            for subscription in list(feed.members) if feed is not None else ():
                self.close(subscription)
                subscription.outlet.end_stream(key[1])

    # --- one subscription's replay -------------------------------------------------------------------

    async def _replay(self, subscription: Subscription) -> None:
        """Read pages until what the feed has at hand joins on, then attach: no await lies between the two."""
        feed, backoff = subscription.feed, _FIRST_BACKOFF_S
        while not feed.has_all_after(subscription.seq) or not await self._hand_over(subscription):
            try:
                page = await self._rows.page(feed.org_id, feed.stream, subscription.seq)
            except Temporary as error:
                self._note_database_failure(error)
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _LONGEST_BACKOFF_S)
                continue
            self._counts.fills["replay"] += 1
            if not page:
                # The feed is ahead of what is kept: retention or a deletion took the rest.
                subscription.seq = feed.seq
            for entry in page:
                await _put_stored(subscription, entry)

    async def _hand_over(self, subscription: Subscription) -> bool:
        """Give what is at hand; attach and return True when nothing more came while that took its time."""
        feed = subscription.feed
        missing = feed.recent_after(subscription.seq)
        for entry in missing:
            await _put_stored(subscription, entry)
        if subscription.seq < feed.seq:
            return False
        feed.attach(subscription)
        return True

    def _end_of_replay(self, subscription: Subscription, task: asyncio.Task[None]) -> None:
        if self._replays.get(subscription) is task:
            del self._replays[subscription]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a replay has failed, the client has to come back", exc_info=error)
            subscription.outlet.give_up()

    # --- Redis ---------------------------------------------------------------------------------------

    async def _read_for_ever(self) -> None:
        backoff = _FIRST_BACKOFF_S
        while True:
            try:
                if not self.is_redis_up:
                    await self._resume()
                await self._read_once()
                backoff = _FIRST_BACKOFF_S
            except LIVE_LOG_ERRORS as error:
                if self.is_redis_up:
                    log.warning("the live log is away, events come from the sweep: %s", error)
                self.is_redis_up = False
                self._counts.redis_failures += 1
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _LONGEST_BACKOFF_S)

    async def _resume(self) -> None:
        now_ms = await self._live_log.now_ms()
        for feed in self._feeds.values():
            feed.position = not_after(feed.position, now_ms)
        self.is_redis_up = True
        log.info("the live log is back")

    async def _read_once(self) -> None:
        found = await self._live_log.read({feed.stream: feed.position for feed in self._feeds.values()})
        for feed in [feed for feed in self._feeds.values() if feed.stream in found]:
            entries = found[feed.stream]
            feed.position = entries[-1][0]
            parsed = [entry for _, raw in entries if (entry := parse_live_log(raw)) is not None]
            for chunk in in_chunks(parsed, _CHUNK):
                for entry in chunk:
                    feed.accept(entry)
                self._fill_if_behind(feed, "hint" if feed.is_hinted else "gap")
                feed.is_hinted = False
                await asyncio.sleep(0)

    def _wake_reader(self) -> None:
        """Let the reader take in the new streams; one wake-up serves all that were added before it is sent."""
        if not self._is_waking:
            self._is_waking = True
            self._spawn(self._wake())

    async def _wake(self) -> None:
        await asyncio.sleep(0)
        self._is_waking = False
        await self._live_log.wake()

    # --- PostgreSQL ----------------------------------------------------------------------------------

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_every_s)
            if self._feeds:
                await self._sweep({stream for _, stream in self._feeds})

    async def _sweep(self, streams: Set[str]) -> None:
        """Look for events that did not come through Redis: lost on the way, or Redis is away."""
        try:
            heads = await self._rows.all_tenants_heads(sorted(streams))
        except Temporary as error:
            self._note_database_failure(error)
            return
        if self.is_redis_up:
            await asyncio.sleep(_GRACE_S)
        for feed in list(self._feeds.values()):
            feed.wanted = max(feed.wanted, heads.get(feed.stream, 0))
            self._fill_if_behind(feed, "sweep")

    def _fill_if_behind(self, feed: Feed, reason: str) -> None:
        if feed.is_behind and not feed.is_filling:
            feed.is_filling = True
            self._counts.fills[reason] += 1
            self._spawn(self._fill(feed))

    async def _fill(self, feed: Feed) -> None:
        try:
            while feed.is_behind and feed.members:
                wanted = feed.wanted
                page = await self._rows.page_for_hub(feed.org_id, feed.stream, feed.seq)
                if not page and feed.wanted == wanted:
                    break
                for chunk in in_chunks(page, _CHUNK):
                    for entry in chunk:
                        feed.accept_stored(entry)
                    await asyncio.sleep(0)
        except Temporary as error:
            self._note_database_failure(error)
        finally:
            feed.is_filling = False
            feed.settle()

    def _note_database_failure(self, error: Exception) -> None:
        self._counts.database_failures += 1
        log.warning("events could not be read, trying again: %s", error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end_of_task)

    def _end_of_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        with contextlib.suppress(asyncio.CancelledError):
            if error := task.exception():
                log.error("a task of the hub has died", exc_info=error)


async def _kept_going(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a loop that must not end; a defect in it costs a pause and a line in the log, not the delivery of events."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("a loop of the hub has failed and starts again")
            await asyncio.sleep(_LONGEST_BACKOFF_S)


async def _put_stored(subscription: Subscription, entry: Entry) -> None:
    if entry.seq is None or entry.seq <= subscription.seq:
        return
    if entry.seq > subscription.seq + 1:
        await subscription.outlet.put(resync(subscription.feed.stream, entry.seq))
    subscription.seq = entry.seq
    await subscription.outlet.put(entry.shown_to(subscription.actor))


def first_number(after: int | None, kept: Kept) -> tuple[int, bool]:
    """Return after which number a replay starts, and whether the cursor is older than what is kept.

    No cursor means: everything that is kept. Raises: CursorInvalid for one beyond the head.
    """
    if after is None:
        return kept.oldest - 1, False
    if after > kept.head:
        raise CursorInvalid("The cursor is beyond the end of the stream.", head=kept.head)
    if after < kept.oldest - 1:
        return kept.oldest - 1, True
    return after, False
