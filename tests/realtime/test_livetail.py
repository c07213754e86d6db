"""Who joins in the middle of a text gets it whole so far, then what follows."""

from __future__ import annotations

import json
import uuid
from typing import Any

from services.domain.actors import system_actor
from services.domain.events.log import record_event
from services.domain.events.types import MessageCreated, SandboxChanged, TurnStarted
from services.domain.tenancy.transaction import tenant_transaction
from services.realtime.entry import Entry, parse_live_log
from services.realtime.feed import Feed, Subscription
from services.realtime.livetail import MOST_CHARS, MOST_TEXTS, LiveTail
from tests.realtime.test_feed import Sink


def live(
    text: str, *, kind: str = "text.delta", after: int = 1, part: int = 1, **data: Any
) -> dict[str, Any]:
    return {
        "stream": "workspace:x",
        "type": kind,
        "after": after,
        "part": part,
        "data": {"text": text, **data},
    }


def durable(kind: str, seq: int = 1, **data: Any) -> dict[str, Any]:
    return {"stream": "workspace:x", "seq": seq, "type": kind, "data": data}


def texts_of(tail: LiveTail) -> dict[str, str]:
    told = [json.loads(entry.text) for entry in tail.texts(after=1, part=1)]
    return {f"{one['type']} {one['data'].get('call_id', '')}".strip(): one["data"]["text"] for one in told}


def test_a_text_is_settled_by_the_event_that_holds_it_and_by_no_other():
    tail = LiveTail()
    tail.take(live("hm", kind="reasoning.delta"))
    for text in ("hel", "lo"):
        tail.take(live(text))
    tail.take(durable("sandbox.changed", state="busy"))
    tail.take(durable("message.created", role="user", text="more"))
    assert texts_of(tail) == {"reasoning.delta": "hm", "text.delta": "hello"}
    tail.take(durable("message.created", role="assistant", text="hello"))
    assert texts_of(tail) == {}


def test_outputs_of_tools_side_by_side_are_told_apart():
    tail = LiveTail()
    for call, text in (("a", "1"), ("b", "2"), ("a", "3")):
        tail.take(live(text, kind="tool.output", call_id=call))
    tail.take(durable("tool.returned", call_id="a"))
    assert texts_of(tail) == {"tool.output b": "2"}
    tail.take(durable("turn.done", status="succeeded"))
    assert texts_of(tail) == {}


def test_a_command_outlives_the_turn():
    tail = LiveTail()
    tail.take(live("building", kind="command.output", command_id="c"))
    tail.take(durable("turn.done", status="succeeded"))
    assert texts_of(tail) == {"command.output": "building"}
    tail.take(durable("command.finished", command_id="c"))
    assert texts_of(tail) == {}


def test_what_is_kept_is_bounded_and_says_where_it_was_cut():
    tail = LiveTail()
    for _ in range(5):
        tail.take(live("x" * MOST_CHARS))
    (entry,) = tail.texts(after=1, part=5)
    told = json.loads(entry.text)
    assert len(told["data"]["text"]) <= 2 * MOST_CHARS
    assert told["is_cut"] is True
    for number in range(2 * MOST_TEXTS):
        tail.take(live("x", kind="tool.output", call_id=str(number)))
    assert len(tail.texts(after=1, part=5)) == MOST_TEXTS


def test_malformed_envelopes_are_passed_over():
    tail = LiveTail()
    for odd in ({}, {"type": 3}, {"type": "text.delta"}, {"type": "text.delta", "data": {"text": 5}}):
        tail.take(odd)
    assert tail.texts(after=1, part=1) == []


def test_what_follows_the_whole_text_is_news_by_its_number():
    feed = Feed("workspace:x", uuid.uuid4(), seq=1, position="0-0")
    for part in (1, 2, 3):
        feed.accept(_entry(live("abc"[part - 1], part=part)))
    sink = Sink()
    late = Subscription(feed, system_actor(feed.org_id), sink)
    late.seq = 1
    feed.attach(late)
    feed.accept(_entry(live("d", part=4)))
    told = [json.loads(text) for text in sink.texts]
    assert [(one["part"], one.get("is_whole", False), one["data"]["text"]) for one in told] == [
        (3, True, "abc"),
        (4, False, "d"),
    ]


def _entry(envelope: dict[str, Any]) -> Entry:
    entry = parse_live_log(json.dumps(envelope).encode())
    assert entry is not None
    return entry


def test_the_first_to_join_gets_what_was_said_before_anybody_listened(service, acme, stream):
    with tenant_transaction(acme.organisation.id):
        record_event(stream.name, TurnStarted(provider="claude"))
    stream.say("of the past: ", after=1, part=1)
    with tenant_transaction(acme.organisation.id):
        record_event(stream.name, MessageCreated(role="assistant", text="of the past: done"))
        record_event(stream.name, SandboxChanged(state="busy"))
    stream.say("Good ", after=3, part=1)
    with tenant_transaction(acme.organisation.id):
        record_event(stream.name, SandboxChanged(state="idle"))
    stream.say("mor", after=4, part=1)
    with service.client(acme.token) as client:
        client.subscribe(stream.name, after=4)
        whole = client.receive()
        assert (whole["data"]["text"], whole["after"], whole["is_whole"]) == ("Good mor", 4, True)
        stream.say("ning", after=4, part=2)
        assert client.receive()["data"]["text"] == "ning"


def test_who_joins_after_the_end_of_a_turn_gets_nothing_of_it(service, acme, stream):
    stream.say("left over", after=0, part=1)
    with tenant_transaction(acme.organisation.id):
        record_event(stream.name, MessageCreated(role="assistant", text="all of it"))
    with service.client(acme.token) as client:
        client.subscribe(stream.name, after=1)
        stream.add()
        assert client.receive()["seq"] == 2
