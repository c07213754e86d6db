"""The WebSocket: replay, live, and what it says to wrong messages."""

from __future__ import annotations

import uuid

import pytest
from websockets.exceptions import ConnectionClosed

from services.domain.events.models import Event
from services.domain.events.models import Stream as StreamRow
from services.realtime.node import Pace
from tests.realtime.conftest import Stream, eventually


def test_a_subscription_replays_from_the_cursor_and_then_goes_live(service, acme, stream):
    stream.add(7)
    with service.client(acme.token) as client:
        answer = client.subscribe(stream.name, 3)
        assert (answer["op"], answer["after"], answer["head"]) == ("ok", 3, 7)
        assert client.numbers(7) == [4, 5, 6, 7]
        stream.add(2)
        stream.add(1)
        assert client.numbers(10) == [8, 9, 10]


def test_an_envelope_has_the_form_of_the_contract(service, acme, stream):
    stream.add(1)
    with service.client(acme.token) as client:
        client.subscribe(stream.name)
        replayed = client.receive()
        stream.add(1)
        live = client.receive()
    for envelope in (replayed, live):
        assert list(envelope) == ["stream", "seq", "type", "at", "task_id", "turn", "data"]
    assert replayed["stream"] == stream.name
    assert replayed["data"] == {"role": "assistant", "text": "message 1"}


def test_without_a_cursor_everything_kept_is_replayed(service, acme, stream):
    stream.add(3)
    with service.client(acme.token) as client:
        client.subscribe(stream.name, None)
        assert client.numbers(3) == [1, 2, 3]


def test_a_long_history_arrives_whole_although_it_exceeds_the_queue(start, acme, stream):
    service = start(Pace(queue_entries=64))
    stream.add(2_500)
    with service.client(acme.token) as client:
        client.subscribe(stream.name, 0)
        assert client.numbers(2_500) == list(range(1, 2_501))


def test_many_streams_share_one_connection(service, acme):
    streams = [Stream(acme) for _ in range(5)]
    with service.client(acme.token) as client:
        for stream in streams:
            client.subscribe(stream.name)
        for stream in streams:
            stream.add(2)
        frames = [client.receive() for _ in range(10)]
    for stream in streams:
        assert [frame["seq"] for frame in frames if frame["stream"] == stream.name] == [1, 2]


def test_after_unsubscribing_nothing_more_of_the_stream_arrives(service, acme, stream):
    with service.client(acme.token) as client:
        client.subscribe(stream.name)
        stream.add(1)
        client.numbers(1)
        assert client.ask(op="unsubscribe", stream=stream.name)["op"] == "ok"
        stream.add(1)
        eventually(lambda: not service.node.hub._feeds)
        client.send(op="ping", id="p")
        assert client.receive() == {"op": "pong", "id": "p"}


def test_subscribing_again_starts_anew_from_the_new_cursor(service, acme, stream):
    stream.add(4)
    with service.client(acme.token) as client:
        client.subscribe(stream.name, 0)
        client.numbers(4)
        client.subscribe(stream.name, 2)
        assert client.numbers(4) == [3, 4]
        stream.add(1)
        assert client.numbers(5) == [5]


def test_a_cursor_older_than_what_is_kept_is_answered_with_resync(service, acme, stream):
    stream.add(10)
    Event.objects.using("operator").filter(stream=stream.name, seq__lt=6).delete()
    StreamRow.objects.using("operator").filter(name=stream.name).update(oldest=6)
    with service.client(acme.token) as client:
        client.subscribe(stream.name, 2)
        assert client.receive() == {"op": "resync", "stream": stream.name, "oldest": 6}
        assert client.numbers(10) == [6, 7, 8, 9, 10]
        client.subscribe(stream.name, 5)
        assert client.numbers(10) == [6, 7, 8, 9, 10]


def test_live_deltas_arrive_in_their_place_and_are_dropped_out_of_it(service, acme, stream):
    stream.add(2)
    with service.client(acme.token) as client:
        client.subscribe(stream.name, 2)
        stream.say("a", after=2, part=1)
        stream.say("b", after=2, part=2)
        stream.say("again", after=2, part=2)
        stream.say("too old", after=1, part=9)
        stream.add(1)
        stream.say("late", after=2, part=3)
        stream.say("c", after=3, part=1)
        frames = [client.receive() for _ in range(4)]
    assert [frame.get("seq") or frame["data"]["text"] for frame in frames] == ["a", "b", 3, "c"]


def test_a_live_delta_whose_durable_event_was_lost_waits_for_it(service, acme, stream, monkeypatch):
    with service.client(acme.token) as client:
        client.subscribe(stream.name)
        with monkeypatch.context() as lost:
            lost.setattr("services.domain.events.log.publish_envelopes", lambda envelopes: None)
            stream.add(2)
        stream.say("a", after=2, part=1)
        stream.say("b", after=2, part=2)
        frames = [client.receive() for _ in range(4)]
    assert [frame.get("seq") or frame["data"]["text"] for frame in frames] == [1, 2, "a", "b"]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("not json", "malformed_body"),
        ("[" * 100_000, "malformed_body"),
        ("[]", "malformed_body"),
        (b"\x00\x01", "malformed_body"),
        ('{"op": "dance"}', "unsupported_op"),
        ('{"op": ["subscribe"]}', "unsupported_op"),
        ("{}", "unsupported_op"),
        ('{"op": "answer", "question_id": "x"}', "invalid"),
        ('{"op": "answer"}', "invalid"),
        ('{"op": "subscribe"}', "invalid"),
        ('{"op": "subscribe", "stream": "workspace:x", "after": "1"}', "invalid"),
        ('{"op": "subscribe", "stream": "workspace:x", "after": -1}', "invalid"),
        ('{"op": "subscribe", "stream": "workspace:x", "after": true}', "invalid"),
        ('{"op": "subscribe", "stream": "workspace:x", "after": 99999999999999999999}', "invalid"),
        ('{"op": "subscribe", "stream": "workspace:x", "more": 1}', "invalid"),
        ('{"op": "subscribe", "stream": "workspace:\\u0000"}', "not_found"),
        ('{"op": "subscribe", "stream": "nothing"}', "not_found"),
        ('{"op": "cancel", "task_id": "../../tokens"}', "invalid"),
        ('{"op": "ping", "id": {"a": 1}}', "invalid"),
        ('{"op": "submit", "idempotency_key": "a\\r\\nX: 1"}', "invalid"),
    ],
)
def test_a_wrong_message_is_answered_with_its_code_and_the_connection_stays(service, acme, sent, code):
    with service.client(acme.token) as client:
        client.connection.send(sent)
        answer = client.receive()
        assert (answer["op"], answer["code"]) == ("error", code)
        assert client.ask(op="ping")["op"] == "pong"


def test_a_cursor_beyond_the_head_is_refused(service, acme, stream):
    stream.add(2)
    with service.client(acme.token) as client:
        assert client.subscribe(stream.name, 3)["code"] == "cursor_invalid"
        assert client.subscribe(stream.name, 2)["op"] == "ok"


def test_a_stream_name_that_is_not_in_its_one_form_does_not_exist(service, acme, stream):
    with service.client(acme.token) as client:
        assert client.subscribe(stream.name.upper().replace("WORKSPACE", "workspace"))["code"] == "not_found"
        assert client.subscribe(f"workspace:{stream.workspace_id.hex}")["code"] == "not_found"
        assert client.subscribe(f"workspace:{uuid.uuid4()}")["code"] == "not_found"


def test_streams_on_one_connection_are_limited(start, acme):
    service = start(Pace(streams_per_connection=2))
    streams = [Stream(acme) for _ in range(3)]
    with service.client(acme.token) as client:
        answers = [client.subscribe(stream.name) for stream in streams]
        assert [answer.get("code") for answer in answers] == [None, None, "limited"]
        assert client.subscribe(streams[0].name)["op"] == "ok"


def test_a_client_that_does_not_read_is_closed_with_4008_and_resumes(start, acme, stream):
    service = start(Pace(queue_entries=32))
    with service.client(acme.token) as client:
        client.subscribe(stream.name)
        stream.add(1)
        client.numbers(1)
        client.connection.recv_messages.pause()
        client.connection.socket.setblocking(True)
        for _ in range(40):
            stream.add(200)
            if service.node.counts.overflows:
                break
        client.connection.recv_messages.resume()
        frames = []
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                frames.append(client.receive())
    assert closed.value.rcvd.code == 4008
    assert frames[-1]["code"] == "overflow"
    seen = [frame["seq"] for frame in frames if "seq" in frame]
    assert seen == list(range(2, 2 + len(seen)))
    with service.client(acme.token) as again:
        again.subscribe(stream.name, client.cursor)
        assert again.numbers(stream.head) == list(range(client.cursor + 1, stream.head + 1))


def test_nothing_of_a_connection_is_left_when_it_ends(service, acme, stream):
    with service.client(acme.token) as client:
        client.subscribe(stream.name)
        assert service.node.counts.connections["websocket"] == 1
    eventually(lambda: service.node.counts.connections["websocket"] == 0)
    assert not service.node.hub._feeds
    assert not service.node.hub._replays
    assert not service.node.watch._connections
