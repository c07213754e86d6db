"""Vendors that refuse, break off or take their time: what the caller sees, and what the task pays."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from services.mcp_gateway.http import AgentHttp
from services.mcp_gateway.llm.vendor import ANTHROPIC_URL, Vendor
from tests.domain.cast import fresh
from tests.fakes.serving import LocalServer
from tests.gateway.conftest import KEY
from tests.gateway.serving import Working, eventually, served
from tests.gateway.test_llm_proxy import CALL, MODEL, post


@contextlib.contextmanager
def behind(answer, *, key: str | None = KEY) -> Iterator[str]:
    """Serve the gateway in front of a vendor that answers in its own way."""
    routes = [Route("/{path:path}", answer, methods=["GET", "POST"])]
    vendor_key = SecretStr(key) if key else None
    with (
        LocalServer(Starlette(routes=routes)) as vendor,
        served(AgentHttp(Vendor(vendor.url, vendor_key))) as url,
    ):
        yield url


@pytest.mark.parametrize("status", [429, 529, 500])
def test_the_vendors_limits_are_passed_on_and_cost_nothing(working, status):
    async def refuse(request: Request) -> Response:
        headers = {
            "retry-after": "7",
            "anthropic-organization-id": "org",
            "set-cookie": "a=b",
            "x-should-retry": "true",
        }
        return JSONResponse(
            {"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, status, headers
        )

    with behind(refuse) as gateway:
        answer = post(gateway, working.llm, stream=True)
    assert answer.status_code == status
    assert answer.headers["retry-after"] == "7"
    assert "anthropic-organization-id" not in answer.headers
    assert "set-cookie" not in answer.headers
    assert answer.json()["error"]["type"] == "overloaded_error"
    task = fresh(working.task)
    assert (task.cost_microusd, task.reserved_microusd) == (0, 0)


def test_a_key_that_the_vendor_repeats_does_not_come_back(working):
    async def repeat(request: Request) -> Response:
        return PlainTextResponse(f"your key {request.headers['x-api-key']} is odd", 400)

    with behind(repeat) as gateway:
        answer = post(gateway, working.llm)
    assert answer.text == "your key [redacted] is odd"


@pytest.mark.parametrize("status", [401, 302])
def test_a_vendor_that_refuses_our_key_is_not_mistaken_for_a_bad_token(working, status):
    async def refuse(request: Request) -> Response:
        return PlainTextResponse(
            f"bad {request.headers['x-api-key']}", status, {"location": "http://x.example"}
        )

    with behind(refuse) as gateway:
        answer = post(gateway, working.llm)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "model_key_refused")
    assert "location" not in answer.headers


def test_a_vendor_that_is_away_costs_nothing(working, database):
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with served(AgentHttp(Vendor(url, SecretStr(KEY)))) as gateway:
        answer = post(gateway, working.llm)
    assert answer.status_code == 502
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("api_error", "upstream_unavailable")
    assert url not in answer.text
    assert fresh(working.task).cost_microusd == 0


def test_an_answer_that_does_not_say_what_it_used_costs_the_estimate(working):
    async def vague(request: Request) -> Response:
        return JSONResponse({"content": []})

    with behind(vague) as gateway:
        assert post(gateway, working.llm).status_code == 200
    (record,) = working.records()
    assert record.cost_microusd == record.reserved_microusd > 15_000


def test_a_stream_that_breaks_ends_in_an_error_event_and_costs_what_came(working):
    async def broken(request: Request) -> Response:
        async def pieces():
            yield b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":100}}}\n\n'
            yield (
                b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"'
                + b"x" * 300
                + b'"}}\n\n'
            )
            raise OSError("cut")

        return StreamingResponse(pieces(), media_type="text/event-stream")

    with behind(broken) as gateway:
        answer = post(gateway, working.llm, stream=True)
    assert answer.text.rstrip().endswith("}}")
    assert "event: error" in answer.text
    assert fresh(working.task).reserved_microusd == 0
    (record,) = working.records()
    assert (record.input_tokens, record.output_tokens) == (100, 100)


def test_without_a_key_the_vendor_is_not_called_but_a_local_server_is(working):
    seen = []

    async def local(request: Request) -> Response:
        seen.append(request.headers["x-api-key"])
        return JSONResponse({"usage": {"input_tokens": 1, "output_tokens": 1}})

    with served(AgentHttp(Vendor(ANTHROPIC_URL, None))) as gateway:
        answer = post(gateway, working.llm)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_key_missing")
    assert answer.headers["x-should-retry"] == "false"
    with behind(local, key=None) as gateway:
        assert post(gateway, working.llm).status_code == 200
    assert seen == ["sk-none"]
    assert len(working.records()) == 1


def test_tokens_are_estimated_where_the_server_cannot_count(working):
    async def nothing(request: Request) -> Response:
        return PlainTextResponse("", 404)

    with behind(nothing) as gateway:
        answer = httpx.post(
            f"{gateway}/llm/anthropic/v1/messages/count_tokens",
            json={"model": MODEL, "messages": CALL["messages"]},
            headers=working.llm,
        )
    assert 10 < answer.json()["input_tokens"] < 60


# --- streaming ---------------------------------------------------------------------------------------


class SlowVendor:
    """Streams a first piece, and the rest only when told to."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.is_left = threading.Event()

    async def answer(self, request: Request) -> Response:
        return StreamingResponse(self._pieces(), media_type="text/event-stream")

    async def _pieces(self):
        try:
            yield b'data: {"type":"message_start","message":{"usage":{"input_tokens":50,"output_tokens":1}}}\n\n'
            await asyncio.to_thread(self.go_on.wait, 10)
            yield b'data: {"type":"message_delta","usage":{"output_tokens":20}}\n\n'
        finally:
            self.is_left.set()


@contextlib.contextmanager
def asking_for_stream(vendor: SlowVendor, working: Working) -> Iterator[httpx.Response]:
    """Ask for an answer in a stream, of which the vendor sends the first piece."""
    url = "/llm/anthropic/v1/messages"
    with (
        behind(vendor.answer) as gateway,
        httpx.stream("POST", gateway + url, json={**CALL, "stream": True}, headers=working.llm) as answer,
    ):
        yield answer


def test_a_piece_arrives_before_the_next_is_made(working):
    vendor = SlowVendor()
    with asking_for_stream(vendor, working) as answer:
        pieces = answer.iter_raw()
        assert b"message_start" in next(pieces)
        vendor.go_on.set()
        assert b"message_delta" in b"".join(pieces)
    assert [(record.input_tokens, record.output_tokens) for record in working.records()] == [(50, 20)]


def test_a_caller_who_leaves_in_the_middle_pays_for_what_came(working):
    vendor = SlowVendor()
    with behind(vendor.answer) as gateway:
        with httpx.stream(
            "POST", f"{gateway}/llm/anthropic/v1/messages", json={**CALL, "stream": True}, headers=working.llm
        ) as answer:
            next(answer.iter_raw())
        assert vendor.is_left.wait(30), "the vendor was not told that nobody listens"
        vendor.go_on.set()
        eventually(lambda: fresh(working.task).reserved_microusd == 0)
    (record,) = working.records()
    assert (record.input_tokens, record.output_tokens) == (50, 1)
    assert record.cost_microusd == 50 * 3 + 15


def test_a_task_that_ends_while_its_call_runs_still_pays(working):
    vendor = SlowVendor()
    with asking_for_stream(vendor, working) as answer:
        pieces = answer.iter_raw()
        next(pieces)
        working.end()
        vendor.go_on.set()
        assert b"message_delta" in b"".join(pieces)
    task = eventually(lambda: fresh(working.task) if fresh(working.task).reserved_microusd == 0 else None)
    assert (task.status, task.cost_microusd, task.output_tokens) == ("succeeded", 50 * 3 + 20 * 15, 20)
