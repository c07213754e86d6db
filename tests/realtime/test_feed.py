"""The order of one stream, without any wire."""

from __future__ import annotations

import random
import uuid

import pytest

from services.domain.actors import system_actor
from services.realtime.entry import Entry, parse_live_log
from services.realtime.feed import Feed, Subscription
from services.realtime.livelog import not_after
from services.realtime.outlet import BoundedOutlet


class Sink:
    """An outlet that remembers."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def offer(self, entry: Entry) -> None:
        self.entries.append(entry)

    async def put(self, entry: Entry) -> None:
        self.offer(entry)

    def give_up(self) -> None:
        self.entries.clear()

    @property
    def numbers(self) -> list[int]:
        return [entry.seq for entry in self.entries if entry.seq is not None]

    @property
    def texts(self) -> list[str]:
        return [entry.text for entry in self.entries if entry.seq is None]


def _feed(seq: int = 0) -> tuple[Feed, Sink]:
    feed, sink = Feed("workspace:x", uuid.uuid4(), seq=seq, position="0-0"), Sink()
    subscription = Subscription(feed, system_actor(feed.org_id), sink)
    subscription.seq = seq
    feed.attach(subscription)
    return feed, sink


def _fill(feed: Feed, head: int) -> None:
    for seq in range(feed.seq + 1, head + 1):
        feed.accept_stored(Entry("stored", seq=seq))
    feed.settle()


def test_any_loss_repetition_and_disorder_still_gives_every_number_once_in_order():
    for seed in range(50):
        dice = random.Random(seed)
        feed, sink = _feed()
        arriving = [seq for seq in range(1, 101) for _ in range(dice.choice((0, 1, 1, 2)))]
        for index in range(len(arriving)):
            other = min(len(arriving) - 1, index + dice.randint(0, 4))
            arriving[index], arriving[other] = arriving[other], arriving[index]
        for seq in arriving:
            feed.accept(Entry("live", seq=seq))
            if feed.is_behind and dice.random() < 0.3:
                _fill(feed, feed.wanted)
        _fill(feed, 100)
        assert sink.numbers == list(range(1, 101))


def test_a_subscription_that_is_ahead_of_its_feed_gets_no_repeat():
    feed, _ = _feed(5)
    sink = Sink()
    ahead = Subscription(feed, system_actor(feed.org_id), sink)
    ahead.seq = 7
    feed.attach(ahead)
    feed.accept(Entry("delta", after=5, part=1))
    for seq in (6, 7, 8):
        feed.accept(Entry("live", seq=seq))
    feed.accept(Entry("delta of 8", after=8, part=1))
    assert (sink.numbers, sink.texts) == ([8], ["delta of 8"])


def test_a_writer_that_begins_its_parts_anew_is_heard():
    feed, sink = _feed(3)
    for text, part in (("a", 1), ("b", 2), ("stale", 2), ("c", 3), ("anew", 1), ("d", 2)):
        feed.accept(Entry(text, after=3, part=part))
    assert sink.texts == ["a", "b", "c", "anew", "d"]


def test_live_entries_of_a_place_that_never_comes_are_dropped():
    feed, sink = _feed(3)
    feed.accept(Entry("early", after=5, part=1))
    feed.accept(Entry("of a lie", after=10**9, part=1))
    assert feed.is_behind
    _fill(feed, 5)
    assert not feed.is_behind
    assert (sink.numbers, sink.texts) == ([4, 5], ["early"])


def test_what_retention_took_from_a_slow_feed_is_said():
    feed, sink = _feed(3)
    feed.accept_stored(Entry("stored", seq=9))
    assert sink.numbers == [9]
    assert "resync" in sink.texts[0]


def test_recent_entries_are_bounded_in_number_and_size():
    feed, _ = _feed()
    for seq in range(1, 2_001):
        feed.accept(Entry("x", seq=seq))
    assert not feed.has_all_after(0)
    assert feed.has_all_after(1_900)
    assert [entry.seq for entry in feed.recent_after(1_997)] == [1_998, 1_999, 2_000]
    for seq in range(2_001, 2_011):
        feed.accept(Entry("x" * 200_000, seq=seq))
    assert len(feed.recent_after(0)) <= 3


def test_a_persons_stream_takes_live_entries_as_a_hint_only():
    feed = Feed("user:x", uuid.uuid4(), seq=0, position="0-0")
    sink = Sink()
    feed.attach(Subscription(feed, system_actor(feed.org_id), sink))
    feed.accept(Entry("perhaps of another organisation", seq=1))
    feed.accept(Entry("delta", after=0, part=1))
    assert sink.entries == []
    assert feed.is_behind


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff", b"null", b"{}", b'{"seq": 1.5}', b'{"after": 1, "part": true}']
)
def test_what_is_no_envelope_is_nothing(raw):
    assert parse_live_log(raw) is None


def test_a_position_of_a_server_whose_clock_was_ahead_is_brought_back():
    assert not_after("2000-5", 1_000) == "1000-0"
    assert not_after("999-5", 1_000) == "999-5"


async def test_an_outlet_bounds_bytes_as_well_as_entries():
    outlet = BoundedOutlet(max_entries=100, max_bytes=1_000)
    for _ in range(3):
        outlet.offer(Entry("x" * 600))
    assert outlet.is_overflown
    assert await outlet.take() is None
    await outlet.put(Entry("x"))
    assert await outlet.take() is None
