"""The Python client against the running services: resources, errors, repeats, streams that were cut, whole runs."""

from __future__ import annotations

import threading
import uuid
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from conftest import Tenant
from slipway_client import AsyncSlipway, LiveTexts, Retries, Slipway, StreamLost, TaskNotSucceeded
from slipway_client.errors import Conflict, ConnectionFailed, Limited, NotFound, ServerFailed, Unauthenticated
from slipway_client.events import Event, EventReader
from tests.clients.conftest import IMPATIENT, Say
from tests.clients.cutting import cut_after
from tests.fakes.serving import LocalServer


def test_a_list_is_walked_page_by_page(slipway: Slipway, acme: Tenant):
    made = [slipway.tasks.create(prompt=f"echo {n}", agent_id=str(acme.agent.id))["id"] for n in range(5)]
    assert [task["id"] for task in slipway.tasks.list(limit=2, status="queued")] == made[::-1]
    first, cursor = slipway.tasks.list(limit=2).page()
    assert (len(first), cursor is not None) == (2, True)


def test_errors_are_known_by_their_code(slipway: Slipway, acme: Tenant, globex: Tenant, api_url: str):
    with pytest.raises(NotFound) as missing:
        slipway.tasks.get(str(uuid.uuid4()))
    assert (missing.value.status, missing.value.code) == (404, "task_not_found")
    assert missing.value.request_id
    task = slipway.tasks.create(prompt="true", agent_id=str(acme.agent.id))
    slipway.tasks.cancel(task["id"])
    with pytest.raises(Conflict, match="task_finished"):
        slipway.tasks.send_message(task["id"], text="and more")
    with Slipway(api_url, globex.token) as mallory, pytest.raises(NotFound):
        mallory.tasks.get(task["id"])
    with Slipway(api_url, "sw_wrong") as nobody, pytest.raises(Unauthenticated, match="token_invalid"):
        nobody.me.get()
    away = Slipway("http://127.0.0.1:9", "sw_x", retries=Retries(attempts=1))
    with away, pytest.raises(ConnectionFailed):
        away.me.get()


class Moody:
    """A server that refuses what comes first, and remembers what it was sent."""

    def __init__(self, *refusals: Response) -> None:
        self._refusals = list(refusals)
        self.keys: list[str | None] = []

    async def answer(self, request: Request) -> Response:
        self.keys.append(request.headers.get("idempotency-key"))
        return self._refusals.pop(0) if self._refusals else JSONResponse({"id": "x"}, 202)

    def serve(self) -> LocalServer:
        return LocalServer(
            Starlette(routes=[Route("/{path:path}", self.answer, methods=["GET", "POST", "PATCH"])])
        )


def refusal(status: int, **headers: str) -> Response:
    body = {"error": {"code": "temporary", "message": "Not now.", "details": {}, "request_id": "r"}}
    return JSONResponse(
        body, status, headers={name.replace("_", "-"): text for name, text in headers.items()}
    )


def test_what_is_harmless_is_made_again_under_one_key():
    moody = Moody(refusal(503, retry_after="0"), refusal(429, retry_after="0"), refusal(502))
    with moody.serve() as server, Slipway(server.url, "sw_x", retries=IMPATIENT) as client:
        client.tasks.create(prompt="true")
    assert len(moody.keys) == 4
    assert len(set(moody.keys)) == 1
    assert moody.keys[0]


def test_what_might_be_done_twice_or_is_too_far_away_is_not_made_again():
    moody = Moody(refusal(503), refusal(429, retry_after="3600"))
    with moody.serve() as server, Slipway(server.url, "sw_x", retries=IMPATIENT) as client:
        with pytest.raises(ServerFailed):
            client.agents.update("a", name="b")
        with pytest.raises(Limited) as limited:
            client.me.get()
    assert limited.value.retry_after_s == 3600
    assert len(moody.keys) == 2


def test_a_stream_that_is_cut_in_every_frame_is_the_same_as_one_never_cut(slipway, acme, agent_says):
    task = slipway.tasks.create(prompt="true", agent_id=str(acme.agent.id))
    agent_says(task, *(f"message {n}\u2028 ends no line" for n in range(6)), ends="succeeded")
    name = f"workspace:{task['workspace_id']}"
    head = slipway.workspaces.get_events(task["workspace_id"], limit=1)["head"]

    def read(client: Slipway) -> list[tuple[int | None, object]]:
        found = []
        for event in (events := client.stream(name, patience_s=20)):
            found.append((event.seq, event.data))
            if events.cursor == head:
                return found
        raise AssertionError

    whole = read(slipway)
    assert [seq for seq, _ in whole] == list(range(1, head + 1))
    port = urlsplit(slipway.transport.realtime_url()).port
    assert port is not None
    for events in (1, 2, 3):
        with cut_after(events, port) as proxy:
            cut = Slipway(slipway.transport.url, acme.token, realtime_url=f"http://127.0.0.1:{proxy.port}")
            with cut:
                assert read(cut) == whole
            assert proxy.connections >= head // events


def test_a_run_is_submitted_followed_and_returned(slipway: Slipway, acme: Tenant, agent_says: Say):
    before = slipway.start("echo first", agent_id=str(acme.agent.id))
    agent_says(before.task, "first", ends="succeeded")
    assert before.result()["status"] == "succeeded"

    seen: list[Event] = []
    # A thread plays the agent: `run` returns only when the task has ended.
    playing = threading.Timer(0, lambda: None)

    def on_event(event: Event) -> None:
        nonlocal playing
        seen.append(event)
        if event.type == "task.queued":
            task = slipway.tasks.get(str(event.task_id))
            playing = threading.Timer(0, agent_says, (task, "one", "two"), {"ends": "succeeded"})
            playing.start()

    task = slipway.run("echo second", workspace_id=before.task["workspace_id"], on_event=on_event)
    playing.join()
    assert task["result"] is not None
    assert task["result"]["text"] == "two"
    # Nothing of the first task is among them, though it is in the same workspace.
    assert {event.task_id for event in seen} == {task["id"]}
    texts = LiveTexts()
    assert [shown for event in seen if (shown := texts.add(event))] == ["one", "two"]


def test_a_run_that_does_not_succeed_says_so(slipway: Slipway, acme: Tenant, agent_says: Say):
    running = slipway.start("false", agent_id=str(acme.agent.id))
    agent_says(running.task, ends="failed")
    with pytest.raises(TaskNotSucceeded) as failed:
        running.result()
    assert failed.value.task["id"] == running.task["id"]
    assert slipway.follow(running.task["id"]).result(check=False)["status"] == "failed"


def test_streams_of_others_are_refused_and_lost_ones_say_how_far_they_came(slipway, acme, globex, agent_says):
    task = slipway.tasks.create(prompt="true", agent_id=str(acme.agent.id))
    name = f"workspace:{task['workspace_id']}"
    with Slipway(slipway.transport.url, globex.token) as mallory, pytest.raises(NotFound):
        next(iter(mallory.stream(name)))
    nowhere = Slipway(slipway.transport.url, acme.token, realtime_url="http://127.0.0.1:9")
    with nowhere, pytest.raises(StreamLost) as lost:
        next(iter(nowhere.stream(name, after=1, patience_s=0)))
    assert lost.value.cursor == 1


async def test_the_async_client_does_the_same(api_url: str, acme: Tenant, agent_says: Say):
    import asyncio

    async with AsyncSlipway(api_url, acme.token, retries=IMPATIENT) as client:
        running = await client.start("echo hi", agent_id=str(acme.agent.id))
        await asyncio.to_thread(agent_says, running.task, "hi", ends="succeeded")
        assert [event.type async for event in running][-1] == "task.finished"
        assert (await running.result())["status"] == "succeeded"
        assert [task["id"] async for task in client.tasks.list()] == [running.task["id"]]


def test_a_text_that_comes_again_as_a_whole_is_shown_once():
    def delta(text: str, *, is_whole: bool = False) -> Event:
        return Event.of(
            {"stream": "s", "type": "text.delta", "is_whole": is_whole, "data": {"text": text}}, "s"
        )

    texts = LiveTexts()
    shown = [texts.add(delta("Hel")), texts.add(delta("Hello, wo", is_whole=True)), texts.add(delta("rld"))]
    said = {
        "stream": "s",
        "type": "message.created",
        "seq": 1,
        "data": {"role": "assistant", "text": "Hello, world."},
    }
    assert "".join([*shown, texts.add(Event.of(said, "s"))]) == "Hello, world."


def test_events_are_read_however_the_bytes_are_cut():
    raw = b': hi\n\nid: 1\ndata: {"a":"\xe2\x80\xa8"}\r\n\r\nretry: 5\ndata: {"b":\ndata: 2}\n\ndata: {"cut'
    whole = list(EventReader().feed(raw))
    reader = EventReader()
    single = [found for byte in raw for found in reader.feed(bytes([byte]))]
    assert whole == single == [{"a": "\u2028"}, {"b": 2}]
