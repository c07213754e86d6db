"""Cut after each single frame, on each transport, with realtime and Redis restarted in between: nothing is missed."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from services.realtime.node import Pace
from tests.realtime.conftest import WITHIN_S, Running, Stream
from tests.realtime.own_redis import OwnRedis

FRAMES = 15
QUICK = Pace(sweep_every_s=0.1)
Frame = dict[str, Any]
Take = Callable[[], Frame]


@contextlib.contextmanager
def by_websocket(service: Running, token: str, stream: str, cursor: int) -> Iterator[Take]:
    with service.client(token) as client:
        client.subscribe(stream, cursor)

        def take() -> Frame:
            while "seq" not in (frame := client.receive()):
                assert frame.get("op") != "error", frame
            return frame

        yield take
        # As a network does it: no close frame, no last word.
        client.connection.socket.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def by_sse(service: Running, token: str, stream: str, cursor: int) -> Iterator[Take]:
    headers = {"Authorization": f"Bearer {token}", "Last-Event-ID": str(cursor)}
    params = {"stream": stream}
    with httpx.stream(
        "GET", f"{service.http}/v1/events", params=params, headers=headers, timeout=WITHIN_S
    ) as answer:
        lines = answer.iter_lines()

        def take() -> Frame:
            for line in lines:
                frame = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if "seq" in frame:
                    return frame
            raise AssertionError("the answer has ended")

        yield take


@contextlib.contextmanager
def by_longpoll(service: Running, token: str, stream: str, cursor: int) -> Iterator[Take]:
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=service.http, headers=headers, timeout=WITHIN_S) as http:
        body = {"streams": [stream], "after": {stream: cursor}}
        queue = http.post("/realtime/register", json=body).raise_for_status().json()["queue_id"]

        def take() -> Frame:
            while True:
                query = {"queue_id": queue, "last_event_id": 0}
                lost = http.get("/realtime/events", params=query).raise_for_status().json()["events"]
                again = http.get("/realtime/events", params=query).raise_for_status().json()["events"]
                # An answer that got lost is given again, the same.
                assert again[: len(lost)] == lost
                if again:
                    first: Frame = again[0]["event"]
                    return first

        yield take


TRANSPORTS = {"websocket": by_websocket, "sse": by_sse, "longpoll": by_longpoll}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_client_cut_after_each_frame_ends_with_what_one_never_cut_has(
    own_redis: OwnRedis, start, acme, stream: Stream, transport: str
) -> None:
    follow = TRANSPORTS[transport]
    seen: list[Frame] = []
    for round_number in range(FRAMES):
        way = ("while nobody follows", "live", "live without Redis")[round_number % 3]
        if way == "while nobody follows":
            stream.add(1)
        service = start(QUICK)
        cursor = seen[-1]["seq"] if seen else 0
        with follow(service, acme.token, stream.name, cursor) as take:
            if way == "live without Redis" and transport != "longpoll":
                own_redis.kill()
            if way != "while nobody follows":
                stream.say("half a sent", after=stream.head, part=1)
                stream.add(1)
            seen.append(take())
        own_redis.kill()
        service.stop()
        own_redis.start()
    with follow(start(QUICK), acme.token, stream.name, 0) as take:
        if transport == "longpoll":
            # A queue gives all that there is, and the same again until it is acknowledged: its first says nothing new.
            assert take() == seen[0]
        else:
            assert [take() for _ in range(FRAMES)] == seen
    assert [frame["seq"] for frame in seen] == list(range(1, FRAMES + 1))
