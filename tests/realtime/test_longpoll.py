"""Long-poll queues: any node serves any of them, and a lost answer is given again."""

from __future__ import annotations

import threading
import uuid

import httpx
import pytest

from services.domain.events import retention
from services.domain.events.retention import all_tenants_forget_events
from services.domain.workspaces.actions import rename_workspace
from services.kit.redisbus import client as redis_client
from services.realtime.node import Pace
from services.realtime.queues import QueueState
from tests.realtime.conftest import Stream, eventually

BRIEF = Pace(poll_heartbeat_s=1)


class Poller:
    """A long-poll client."""

    def __init__(self, service, token: str) -> None:
        self.http = httpx.Client(
            base_url=service.http, headers={"Authorization": f"Bearer {token}"}, timeout=10, trust_env=False
        )

    def register(self, *streams: str, **fields) -> str:
        answer = self.http.post("/realtime/register", json={"streams": list(streams), **fields})
        assert answer.status_code == 200, answer.text
        assert set(answer.json()) == {"queue_id", "last_event_id", "heartbeat_s", "idle_timeout_s"}
        return answer.json()["queue_id"]

    def ask(self, queue_id: str, last: int = 0, **more) -> httpx.Response:
        return self.http.get("/realtime/events", params={"queue_id": queue_id, "last_event_id": last, **more})

    def take(self, queue_id: str, last: int = 0, **more) -> list[dict]:
        answer = self.ask(queue_id, last, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()["events"]


@pytest.fixture
def poller(service, acme):
    """Give alice's long-poll client."""
    made = Poller(service, acme.token)
    yield made
    made.http.close()


def test_a_queue_gives_events_with_rising_numbers_and_the_envelope(poller, stream):
    stream.add(3)
    queue = poller.register(stream.name)
    events = poller.take(queue)
    assert [event["id"] for event in events] == [1, 2, 3]
    assert [event["event"]["seq"] for event in events] == [1, 2, 3]
    assert events[0]["event"]["stream"] == stream.name
    stream.add(2)
    assert [event["id"] for event in poller.take(queue, 3)] == [4, 5]


def test_an_answer_that_was_lost_is_given_again_the_same(poller, stream):
    stream.add(2)
    queue = poller.register(stream.name)
    first = poller.take(queue)
    stream.add(1)
    assert poller.take(queue) == first
    assert poller.take(queue, 1) == first[1:]
    assert [event["event"]["seq"] for event in poller.take(queue, 2)] == [3]


def test_a_waiting_request_is_answered_when_something_happens(poller, stream, service):
    queue = poller.register(stream.name)
    found: list[dict] = []
    waiting = threading.Thread(target=lambda: found.extend(poller.take(queue)))
    waiting.start()
    eventually(lambda: service.node.hub._feeds)
    stream.say("not durable", after=0, part=1)
    stream.add(1)
    waiting.join(5)
    assert [event["event"]["seq"] for event in found] == [1]
    eventually(lambda: not service.node.hub._feeds)


def test_without_events_the_answer_is_empty_after_the_heartbeat_or_at_once(start, acme, stream):
    poller = Poller(start(BRIEF), acme.token)
    queue = poller.register(stream.name)
    assert poller.take(queue, dont_block="true") == []
    assert poller.take(queue) == []
    poller.http.close()


def test_several_streams_share_one_series_of_numbers(poller, acme):
    streams = [Stream(acme) for _ in range(3)]
    queue = poller.register(*(stream.name for stream in streams))
    last, seen = 0, []
    for _ in range(4):
        for stream in streams:
            stream.add(2)
        events = poller.take(queue, last)
        assert [event["id"] for event in events] == list(range(last + 1, last + 1 + len(events)))
        last = events[-1]["id"]
        seen += [(event["event"]["stream"], event["event"]["seq"]) for event in events]
    for stream in streams:
        assert [seq for name, seq in seen if name == stream.name] == list(range(1, 9))


def test_any_node_serves_any_queue(start, acme, stream):
    pollers = [Poller(start(), acme.token) for _ in range(2)]
    queue = pollers[0].register(stream.name)
    last, seen = 0, []
    for turn in range(6):
        stream.add(3)
        events = pollers[turn % 2].take(queue, last)
        last = events[-1]["id"]
        seen += [event["event"]["seq"] for event in events]
    assert seen == list(range(1, 19))
    for poller in pollers:
        poller.http.close()


def test_a_long_history_comes_in_pieces(poller, stream):
    stream.add(1_200)
    queue = poller.register(stream.name)
    last, seen = 0, []
    while last < 1_200:
        events = poller.take(queue, last)
        last = events[-1]["id"]
        seen += [event["event"]["seq"] for event in events]
    assert seen == list(range(1, 1_201))


def test_registering_with_a_cursor_begins_behind_it(poller, stream):
    stream.add(5)
    queue = poller.register(stream.name, after={stream.name: 3})
    assert [event["event"]["seq"] for event in poller.take(queue)] == [4, 5]


def test_a_foreign_an_expired_and_an_unknown_queue_are_alike(service, poller, acme, globex, stream):
    queue = poller.register(stream.name)
    bodies = []
    for token in (globex.token, acme.tokens["bob"]):
        other = Poller(service, token)
        bodies += [other.ask(queue), other.http.delete("/realtime/events", params={"queue_id": queue})]
        other.http.close()
    assert poller.take(queue, dont_block="1") == []
    bodies.append(poller.ask("swq_never"))
    assert poller.http.delete("/realtime/events", params={"queue_id": queue}).status_code == 200
    bodies.append(poller.ask(queue))
    expired = poller.register(stream.name)
    redis_client().flushdb()
    bodies.append(poller.ask(expired))
    errors = [answer.json()["error"] for answer in bodies]
    assert {answer.status_code for answer in bodies} == {400}
    assert {error["code"] for error in errors} == {"bad_event_queue_id"}
    assert len({error["message"] for error in errors}) == 1


def test_a_queue_is_stored_without_its_id_and_expires(poller, stream):
    queue = poller.register(stream.name)
    [key] = redis_client().keys("slipway:queue:*")
    assert queue.encode() not in key
    assert 0 < redis_client().ttl(key) <= 600


def test_a_workspace_that_is_deleted_takes_waiting_for_it_along(poller, acme, stream):
    from services.domain.workspaces.actions import delete_workspace

    queue = poller.register(stream.name)
    delete_workspace(acme.owner, stream.workspace_id)
    assert poller.ask(queue).json()["error"]["code"] == "bad_event_queue_id"


@pytest.mark.parametrize("last", ["x", "-1", "", "9", "9" * 30])
def test_a_wrong_number_is_refused(poller, stream, last):
    stream.add(2)
    queue = poller.register(stream.name)
    poller.take(queue)
    answer = poller.ask(queue, last)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "cursor_invalid")


def test_what_was_acknowledged_is_not_given_again(poller, stream):
    stream.add(2)
    queue = poller.register(stream.name)
    poller.take(queue)
    assert poller.take(queue, 2, dont_block="1") == []
    assert poller.ask(queue, 1).json()["error"]["code"] == "cursor_invalid"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed_body"),
        (b"[]", 400, "invalid"),
        (b'{"streams": []}', 400, "invalid"),
        (b'{"streams": ["x"], "more": 1}', 400, "invalid"),
        (b'{"streams": ["x"]}', 404, "not_found"),
        (b'{"streams": ["x"], "after": {"y": 1}}', 400, "invalid"),
        (b'{"streams": ["' + b"x" * 70_000 + b'"]}', 413, "body_too_large"),
    ],
)
def test_a_wrong_registration_is_answered_with_its_code(poller, body, status, code):
    answer = poller.http.post("/realtime/register", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_method_that_is_not_served_is_405(poller):
    answer = poller.http.get("/realtime/register")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")


def test_acknowledging_within_a_run_leaves_its_rest():
    state = QueueState(org_id=uuid.uuid4(), user_id=None, cursors={"a": 10, "b": 0})
    state.give("a", 11, 3)
    state.give("b", 1, 2)
    state.acknowledge(2)
    assert (state.cursors, state.last_id) == ({"a": 12, "b": 0}, 5)
    assert [(run.first_id, run.first_seq, run.count) for run in state.runs] == [(3, 13, 1), (4, 1, 2)]
    state.acknowledge(4)
    assert state.cursors == {"a": 13, "b": 1}
    state.acknowledge(5)
    assert (state.cursors, state.runs, state.last_id) == ({"a": 13, "b": 2}, [], 5)


def test_what_is_not_kept_any_more_is_said_and_never_left_out_in_silence(poller, acme, stream, monkeypatch):
    monkeypatch.setattr(retention, "KEPT_EVENTS", 4)
    monkeypatch.setattr(retention, "_SLACK", 1)
    org = f"org:{acme.organisation.id}"
    queue = poller.register(org)
    for number in range(6):
        rename_workspace(acme.owner, stream.workspace_id, f"name {number}")
    assert all_tenants_forget_events() > 0
    answer = poller.ask(queue)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_event_queue_id")
    body = {"streams": [org, stream.name], "after": {org: 1}}
    registered = poller.http.post("/realtime/register", json=body).json()
    events = poller.take(registered["queue_id"])
    assert registered["resync"] == {org: events[0]["event"]["seq"]}
    assert len(events) == 4
    assert all_tenants_forget_events() == 0


def test_what_a_conversation_consists_of_is_not_forgotten(poller, stream, monkeypatch):
    monkeypatch.setattr(retention, "KEPT_EVENTS", 4)
    monkeypatch.setattr(retention, "_SLACK", 1)
    stream.add(9)
    all_tenants_forget_events()
    assert len(poller.take(poller.register(stream.name))) == 9
