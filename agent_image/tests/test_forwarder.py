"""The loopback port inside a sandbox: the gateway's HTTP paths for tools that only know TCP."""

from __future__ import annotations

import asyncio
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


@pytest.fixture
async def impatient(socket_folder: Path) -> AsyncIterator[Forwarder]:
    opened = Forwarder(str(socket_folder / "gw.sock"), 0, patience_s=0.1)
    yield opened
    await opened.close()


async def test_a_gateway_that_stays_away_closes_the_connection(impatient: Forwarder) -> None:
    address = await impatient.open()
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.TransportError):
            await client.get(address)


async def test_a_gateway_that_is_away_for_a_moment_costs_a_call_that_moment(
    socket_folder: Path, forwarder: Forwarder
) -> None:
    address = await forwarder.open()
    async with httpx.AsyncClient() as client:
        calling = asyncio.create_task(client.post(f"{address}/mcp/memory/", content=b"xx"))
        done, _ = await asyncio.wait({calling}, timeout=0.3)
        assert not done
        async with serve_gateway(socket_folder / "gw.sock", FakeGateway(), {"/mcp/memory": count_bytes}):
            assert (await calling).text == "2 None"


async def test_a_call_whose_client_has_left_is_not_made_when_the_gateway_is_back(
    socket_folder: Path, forwarder: Forwarder
) -> None:
    address = await forwarder.open()
    async with httpx.AsyncClient(timeout=0.3) as client:
        with pytest.raises(httpx.TimeoutException):
            await client.post(f"{address}/mcp/memory/left", content=b"x")
    await asyncio.wait_for(asyncio.gather(*forwarder._connections), 5)
    paths: list[str] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        paths.append(scope["path"])
        await count_bytes(scope, receive, send)

    async with (
        serve_gateway(socket_folder / "gw.sock", FakeGateway(), {"/mcp/memory": note}),
        httpx.AsyncClient() as client,
    ):
        await client.post(f"{address}/mcp/memory/stayed", content=b"x")
    assert [path.rpartition("/")[2] for path in paths] == ["stayed"]
