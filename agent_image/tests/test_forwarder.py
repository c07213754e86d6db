"""The loopback port inside a sandbox: the gateway's HTTP paths for tools that only know TCP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from agent_image.runner.forwarder import Forwarder
from tests.fakes.gateway_link import FakeGateway, serve_gateway


async def count_bytes(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope, receive)
    answer: Response = PlainTextResponse(
        f"{len(await request.body())} {request.headers.get('authorization')}"
    )
    await answer(scope, receive, send)


@pytest.fixture
async def forwarder(socket_folder: Path) -> AsyncIterator[Forwarder]:
    opened = Forwarder(str(socket_folder / "gw.sock"), 0)
    yield opened
    await opened.close()


async def test_calls_reach_the_gateway_through_it(socket_folder: Path, forwarder: Forwarder) -> None:
    async with (
        serve_gateway(socket_folder / "gw.sock", FakeGateway(), {"/mcp/memory": count_bytes}),
        httpx.AsyncClient() as client,
    ):
        address = await forwarder.open()
        for size in (0, 1_000_000):
            answer = await client.post(
                f"{address}/mcp/memory/", content=b"x" * size, headers={"authorization": "Bearer t"}
            )
            assert answer.text == f"{size} Bearer t"


async def test_it_is_opened_once(forwarder: Forwarder) -> None:
    assert await forwarder.open() == await forwarder.open()


async def test_a_gateway_that_is_away_closes_the_connection(forwarder: Forwarder) -> None:
    address = await forwarder.open()
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.TransportError):
            await client.get(address)
