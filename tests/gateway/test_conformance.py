"""The protocol's official conformance suite against the gateway: its own door, transport and sessions."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from mcp.server.streamable_http import EventMessage
from mcp_types import JSONRPCNotification
from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from services.domain.identity.actions import create_token
from services.domain.oauth.servers import PeopleServer
from services.kit.environment import environment
from services.mcp_gateway.http import AgentHttp
from services.mcp_gateway.llm.vendor import Vendor
from services.mcp_gateway.mcp_servers.resuming import MAX_EVENTS, SessionEvents
from services.mcp_gateway.mcp_servers.tools import ToolServer
from services.mcp_gateway.mcp_servers.transport import McpEndpoint
from tests.fakes import conformance_suite
from tests.fakes.mcp_fixture import build_fixture
from tests.gateway.serving import served

EXPECTED = Path(__file__).with_name("conformance-expected.yml")
CHECKS = 44
_SUMMARY = re.compile(r"Total: (\d+) passed, (\d+) failed")


class CallerInFront:
    """Shows a token for a client that cannot: the suite has no way to be given one."""

    token = ""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and b"authorization" not in dict(scope["headers"]):
            shown = (b"authorization", f"Bearer {self.token}".encode())
            scope = {**scope, "headers": [*scope["headers"], shown]}
        await self._app(scope, receive, send)


def conformance_endpoint() -> McpEndpoint:
    """Return the suite's fixtures as one more server for people, with sessions."""
    return McpEndpoint(
        "/mcp/conformance",
        "Conformance",
        [ToolServer("conformance", "Conformance", "", ())],
        audience="mcp:conformance",
        people={"conformance": PeopleServer("conformance", "Conformance", "", frozenset(), frozenset())},
        build=build_fixture,
        has_sessions=True,
    )


@pytest.fixture
def url(acme, monkeypatch) -> Iterator[str]:
    """Serve the gateway with the fixtures on it; gives their address."""
    token = create_token(acme.owner, name="suite", scopes=["mcp:conformance"])[1]
    monkeypatch.setattr(CallerInFront, "token", token)
    agent_http = AgentHttp(Vendor("http://127.0.0.1:9", SecretStr("x")), more=[conformance_endpoint()])
    with served(agent_http, CallerInFront) as gateway:
        monkeypatch.setattr(environment(), "gateway_public_url", gateway)
        yield f"{gateway}/mcp/conformance"


def test_the_official_suite_passes(url):
    done = conformance_suite.install().run(url, "--suite", "all", "--expected-failures", str(EXPECTED))
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    passed, failed = (int(found) for found in _SUMMARY.findall(said)[-1])
    assert (passed >= CHECKS, failed) == (True, 0), said


def open_session(url: str, token: str) -> dict[str, str]:
    """Begin a session; returns the headers that continue it."""
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2025-11-25",
    }
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    }
    body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    answer = httpx.post(url, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    headers["Mcp-Session-Id"] = answer.headers["mcp-session-id"]
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert httpx.post(url, json=ready, headers=headers).status_code == 202
    return headers


def call_and_lose(url: str, headers: dict[str, str]) -> str:
    """Call the tool that closes its stream before it answers; returns the last event's id."""
    body = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "test_reconnection"}}
    text = httpx.post(url, json=body, headers=headers).text
    assert "Answered after" not in text
    return re.findall(r"^id: (\S+)", text, re.MULTILINE)[-1]


def listen(url: str, headers: dict[str, str], last: str) -> str:
    """Take a stream up again; returns what comes first."""
    with httpx.stream("GET", url, headers={**headers, "Last-Event-ID": last}, timeout=30) as stream:
        assert stream.status_code == 200
        for line in stream.iter_lines():
            if line.startswith("data: {"):
                return line
    return ""


def test_a_stream_that_broke_off_is_taken_up_again(url):
    headers = open_session(url, CallerInFront.token)
    assert "Answered after the stream was closed." in listen(url, headers, call_and_lose(url, headers))


def test_a_session_reads_nothing_that_another_was_sent(url):
    first, second = (open_session(url, CallerInFront.token) for _ in range(2))
    last = call_and_lose(url, first)
    assert int(last) > 0
    assert "Answered after" not in listen(url, second, last)


def test_a_session_is_nobody_elses(url, acme):
    headers = open_session(url, CallerInFront.token)
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    assert httpx.post(url, json=body, headers=headers).status_code == 200
    for actor in (acme.owner, acme.people["bob"]):
        other = create_token(actor, name="other", scopes=["mcp:conformance"])[1]
        stranger = {**headers, "Authorization": f"Bearer {other}"}
        assert httpx.post(url, json=body, headers=stranger).status_code == 404
        assert httpx.delete(url, headers=stranger).status_code == 404
    revoked = {**headers, "Authorization": "Bearer sw_revoked"}
    assert httpx.post(url, json=body, headers=revoked).status_code == 401
    assert httpx.delete(url, headers=headers).status_code == 200
    assert httpx.post(url, json=body, headers=headers).status_code == 404


def test_a_stream_ends_with_the_token_that_opened_it(url, monkeypatch):
    monkeypatch.setattr("services.mcp_gateway.mcp_servers.transport.LONGEST_STREAM_S", 0.2)
    headers = open_session(url, CallerInFront.token)
    with httpx.stream("GET", url, headers=headers, timeout=30) as stream:
        assert stream.status_code == 200
        assert list(stream.iter_lines()) is not None


def test_what_a_session_was_sent_is_kept_within_bounds():
    async def fill() -> tuple[int, str | None]:
        events, sent = SessionEvents(), []
        first = await events.store_event("a", None)
        for _ in range(2 * MAX_EVENTS):
            last = await events.store_event("a", JSONRPCNotification(jsonrpc="2.0", method="x"))
        assert await events.replay_events_after(first, None) is None

        async def keep(event: EventMessage) -> None:
            sent.append(event)

        stream = await events.replay_events_after(str(int(last) - 5), keep)
        return len(sent), stream

    assert asyncio.run(fill()) == (5, "a")
