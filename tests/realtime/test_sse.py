"""Server-sent events: the same envelopes, with the browser's own cursor."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from services.domain.events.models import Event
from services.domain.events.models import Stream as StreamRow
from services.domain.identity.actions import create_token, revoke_token
from services.realtime.node import Pace
from tests.realtime.conftest import WITHIN_S, Stream, eventually


class Reader:
    """Reads one answer as an EventSource does."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.comments = 0
        self.retry_ms = 0
        self._lines = answer.iter_lines()

    def events(self) -> Iterator[tuple[int | None, dict[str, Any]]]:
        """Yield (id, data) until the answer ends."""
        number: int | None = None
        for line in self._lines:
            name, _, value = line.partition(": ")
            if line.startswith(":"):
                self.comments += 1
            elif name == "id":
                number = int(value)
            elif name == "retry":
                self.retry_ms = int(value)
            elif name == "data":
                yield number, json.loads(value)
                number = None

    def take(self, count: int) -> list[tuple[int | None, dict[str, Any]]]:
        """Return the next events."""
        found = []
        for event in self.events():
            found.append(event)
            if len(found) == count:
                break
        return found


@pytest.fixture
def reading(service, acme):
    """Open `/v1/events` of the standard service as alice."""

    @contextlib.contextmanager
    def read(stream: str, after: int | None = None, **headers: str) -> Iterator[Reader]:
        sent = {
            "Authorization": f"Bearer {acme.token}",
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }
        params: dict[str, str | int] = {"stream": stream} | ({"after": after} if after is not None else {})
        url = f"{service.http}/v1/events"
        with httpx.stream("GET", url, params=params, headers=sent, timeout=WITHIN_S) as answer:
            yield Reader(answer)

    return read


def test_events_are_replayed_and_then_live_with_their_number_as_id(reading, stream):
    stream.add(3)
    with reading(stream.name) as reader:
        assert reader.answer.headers["content-type"] == "text/event-stream"
        replayed = reader.take(3)
        stream.say("so far", after=3, part=1)
        stream.add(1)
        live = reader.take(2)
    assert reader.retry_ms > 0
    assert [number for number, _ in replayed] == [1, 2, 3]
    assert replayed[0][1]["seq"] == 1
    assert [number for number, _ in live] == [None, 4]
    assert live[0][1]["data"] == {"text": "so far"}


def test_last_event_id_continues_where_the_client_was_and_counts_more_than_the_address(reading, stream):
    stream.add(5)
    with reading(stream.name, Last_Event_ID="3") as reader:
        assert [number for number, _ in reader.take(2)] == [4, 5]
    with reading(stream.name, after=1, Last_Event_ID="4") as reader:
        assert [number for number, _ in reader.take(1)] == [5]
    with reading(stream.name, after=3) as reader:
        assert [number for number, _ in reader.take(2)] == [4, 5]


def test_reconnecting_after_every_few_events_misses_and_repeats_nothing(reading, stream):
    stream.add(60)
    cursor, seen = "0", []
    while len(seen) < 60:
        with reading(stream.name, Last_Event_ID=cursor) as reader:
            seen += [number for number, _ in reader.take(7 if len(seen) < 53 else 60 - len(seen))]
            cursor = str(seen[-1])
    assert seen == list(range(1, 61))


def test_a_cursor_older_than_what_is_kept_begins_with_resync(reading, stream):
    stream.add(6)
    Event.objects.using("operator").filter(stream=stream.name, seq__lt=5).delete()
    StreamRow.objects.using("operator").filter(name=stream.name).update(oldest=5)
    with reading(stream.name, after=1) as reader:
        events = reader.take(3)
    assert events[0] == (None, {"op": "resync", "stream": stream.name, "oldest": 5})
    assert [number for number, _ in events[1:]] == [5, 6]


def test_a_quiet_stream_is_kept_alive_by_comments(start, acme, stream):
    service = start(Pace(keepalive_s=0.05))
    headers = {"Authorization": f"Bearer {acme.token}"}
    url = f"{service.http}/v1/events?stream={stream.name}"
    with httpx.stream("GET", url, headers=headers, timeout=WITHIN_S) as answer:
        lines = answer.iter_lines()
        comments = [line for _, line in zip(range(8), lines, strict=False) if line.startswith(":")]
    assert len(comments) >= 2


@pytest.mark.parametrize(
    ("query", "headers", "code"),
    [
        ("", {}, "invalid"),
        ("?stream={0}&stream={0}", {}, "invalid"),
        ("?stream={0}&after=x", {}, "cursor_invalid"),
        ("?stream={0}&after=-1", {}, "cursor_invalid"),
        ("?stream={0}&after=99", {}, "cursor_invalid"),
        ("?stream={0}", {"Last-Event-ID": "9" * 5000}, "cursor_invalid"),
        ("?stream={0}", {"Last-Event-ID": "9223372036854775808"}, "cursor_invalid"),
        ("?stream={0}&after=1&after=2", {}, "invalid"),
    ],
)
def test_a_wrong_request_is_answered_with_its_code(service, acme, stream, query, headers, code):
    sent = {"Authorization": f"Bearer {acme.token}", **headers}
    answer = httpx.get(f"{service.http}/v1/events{query.format(stream.name)}", headers=sent)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert not service.node.hub._feeds


def test_without_a_credential_the_answer_is_401(service, stream):
    answer = httpx.get(f"{service.http}/v1/events", params={"stream": stream.name})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert set(answer.json()["error"]) == {"code", "message", "details", "request_id"}


def test_a_revoked_token_ends_the_answer(start, acme, stream):
    service = start(Pace(recheck_every_s=0.1))
    row, token = create_token(acme.owner, name="short-lived")
    url, headers = f"{service.http}/v1/events?stream={stream.name}", {"Authorization": f"Bearer {token}"}
    with httpx.stream("GET", url, headers=headers, timeout=WITHIN_S) as answer:
        revoke_token(acme.owner, row.id)
        assert list(Reader(answer).events()) == []
    assert httpx.get(url, headers=headers).status_code == 401


def test_a_client_that_leaves_leaves_nothing_behind(service, reading, stream):
    with reading(stream.name):
        eventually(lambda: service.node.hub._feeds)
    eventually(lambda: not service.node.hub._feeds)
    assert service.node.counts.connections["sse"] == 0


def test_a_client_that_does_not_read_is_cut_off_and_resumes(start, acme):
    service = start(Pace(queue_entries=16))
    stream = Stream(acme)
    url, headers = f"{service.http}/v1/events?stream={stream.name}", {"Authorization": f"Bearer {acme.token}"}
    with httpx.stream("GET", url, headers=headers, timeout=WITHIN_S) as answer:
        eventually(lambda: service.node.hub._feeds)
        for _ in range(60):
            stream.add(200)
            if service.node.hub._feeds and service.node.counts.overflows:
                break
        seen = [number for number, _ in Reader(answer).events()]
    assert service.node.counts.overflows == 1
    assert seen == list(range(1, len(seen) + 1))
    with httpx.stream(
        "GET", url, headers={**headers, "Last-Event-ID": str(seen[-1])}, timeout=WITHIN_S
    ) as answer:
        rest = Reader(answer).take(stream.head - len(seen))
    assert [number for number, _ in rest] == list(range(len(seen) + 1, stream.head + 1))
