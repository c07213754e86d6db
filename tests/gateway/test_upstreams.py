"""MCP servers of others through the gateway: what gets through, what does not, and what is said about it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from mcp import Client

from services.domain.upstreams.actions import NewUpstream, delete_upstream, register_upstream, update_upstream
from tests.fakes.mcp_upstream import McpUpstream
from tests.gateway.serving import at_work, rpc
from tests.gateway.upstream_cast import Weather, register, stored, work

AGENT_MODES = ["legacy", "2026-07-28"]
pytestmark = pytest.mark.usefixtures("local_upstreams")


@pytest.mark.parametrize("mode", AGENT_MODES)
@pytest.mark.parametrize("speaks", ["both", "handshake"])
def test_a_client_of_either_revision_uses_a_server_of_either_revision(gateway, acme, claude, mode, speaks):
    with McpUpstream(speaks=speaks) as upstream:
        assert register(acme, upstream.url).status == "ok"
        weather = Weather(gateway, work(acme, claude), mode)
        assert weather.tools() == ["add", "wait", "huge", "break_down"]
        result = weather.call("add", a=2, b=3)
    assert (result.structured_content, result.content[0].text) == ({"sum": 5}, "5")
    assert not result.meta or "secret-of-the-server" not in result.meta
    versions = {call["version"] for call in upstream.calls.all() if "http" in call}
    assert ("2025-11-25" in versions) == (speaks == "handshake")


def test_the_server_sees_its_own_credential_and_nothing_of_the_agents(gateway, acme, claude, upstream):
    upstream.header = ("x-api-key", "of-the-server")
    register(acme, upstream.url, auth="header", header_name="X-API-Key", credential="of-the-server")
    working = work(acme, claude)
    assert not Weather(gateway, working).call("add", a=1, b=1).is_error
    seen = json.dumps([call["headers"] for call in upstream.calls.all() if "http" in call])
    assert "of-the-server" in seen
    assert "swt_" not in seen
    assert "x-agent" not in seen
    assert "authorization" not in seen


@pytest.mark.parametrize("mode", AGENT_MODES)
def test_progress_is_passed_on_while_the_call_runs(gateway, acme, claude, upstream, mode):
    register(acme, upstream.url)
    heard: list[tuple[float, float | None, str | None]] = []

    async def converse(client: Client) -> Any:
        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            heard.append((progress, total, message))
            upstream.release()

        return await client.call_tool("wait", progress_callback=on_progress)

    # It ends only because its progress was heard.
    assert Weather(gateway, work(acme, claude), mode).run(converse).content[0].text == "waited"
    assert heard == [(1, 2, "half way")]


def test_a_call_that_takes_too_long_is_ended_and_the_server_is_told(gateway, acme, claude, upstream):
    # Long enough for the call to arrive, however busy the machine is.
    register(acme, upstream.url, timeout_s=4)
    words = Weather(gateway, work(acme, claude)).refused("wait")
    assert words.startswith("mcp_server_timeout: The server did not answer within 4 s.")
    upstream.calls.wait_for(1, lambda call: call.get("tool") == "cancelled", timeout_s=10)


@pytest.mark.parametrize("mode", AGENT_MODES)
def test_a_call_that_the_agent_cancels_is_cancelled_at_the_server(gateway, acme, claude, upstream, mode):
    register(acme, upstream.url)

    async def converse(client: Client) -> None:
        call = asyncio.create_task(client.call_tool("wait"))
        await asyncio.to_thread(upstream.calls.wait_for, 1, lambda call: call.get("tool") == "wait", 10)
        call.cancel()
        await asyncio.wait({call})
        await asyncio.to_thread(upstream.calls.wait_for, 1, lambda call: call.get("tool") == "cancelled", 10)

    Weather(gateway, work(acme, claude), mode).run(converse)


def test_a_tasks_calls_share_a_conversation_that_no_other_task_has(gateway, acme, claude):
    with McpUpstream(speaks="handshake") as upstream:
        register(acme, upstream.url)
        for working in (work(acme, claude), work(acme, claude)):
            for _ in range(2):
                assert not Weather(gateway, working).call("add", a=1, b=1).is_error
        calls = [call["headers"] for call in upstream.calls.all() if call.get("http") == "POST"]
    sessions = [headers.get("mcp-session-id") for headers in calls if headers.get("mcp-method") is None]
    # The first is that of the registration, which listed the tools.
    assert len(set(filter(None, sessions))) == 3


def unauthorized(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 401, answer.text
    assert "invalid_token" in answer.headers["www-authenticate"]
    body: dict[str, Any] = answer.json()
    return body


def test_bad_tokens_are_refused_alike_whether_there_is_such_a_server_or_not(
    gateway, acme, globex, claude, upstream
):
    register(globex, upstream.url)
    working = at_work(acme, claude)
    other = work(globex, globex.agent)
    words = []
    for name in ("weather", "nowhere"):
        for token in ("nonsense", acme.token, working.tokens["mcp:memory"]):
            words.append(unauthorized(rpc(f"{gateway}/mcp/{name}", token, "tools/list")))
    words.append(unauthorized(rpc(f"{gateway}/mcp/memory", other.tokens["mcp:weather"], "tools/list")))
    assert all(word == words[0] for word in words)
    assert "mcp:weather" not in working.tokens
    other.end()
    unauthorized(rpc(f"{gateway}/mcp/weather", other.tokens["mcp:weather"], "tools/list"))


def test_a_name_means_each_organisations_own_server(gateway, acme, globex, claude, upstream):
    register(acme, upstream.url)
    with McpUpstream() as theirs:
        del theirs.tools["add"]
        register(globex, theirs.url)
        assert "add" in Weather(gateway, work(acme, claude)).tools()
        assert "add" not in Weather(gateway, work(globex, globex.agent)).tools()


def test_a_server_that_was_removed_is_gone_for_turns_at_work_too(gateway, acme, claude, upstream):
    server = register(acme, upstream.url)
    working = work(acme, claude)
    delete_upstream(acme.owner, server.id)
    answer = rpc(f"{gateway}/mcp/weather", working.tokens["mcp:weather"], "tools/list")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "mcp_server_not_found")
    assert "mcp:weather" not in at_work(acme, claude).tokens


def test_a_personal_server_is_for_its_owners_work_only(gateway, acme, claude, upstream):
    register(acme, upstream.url, is_personal=True)
    assert Weather(gateway, work(acme, claude)).tools() == ["add", "wait", "huge", "break_down"]
    assert "mcp:weather" not in work(acme, claude, who=acme.people["bob"]).tokens


def test_what_is_not_on_the_allowlist_does_not_exist(gateway, acme, claude, upstream):
    server = register(acme, upstream.url, allowed_tools=["wait"])
    working = work(acme, claude)
    weather = Weather(gateway, working)
    assert weather.tools() == ["wait"]
    answer = rpc(weather.url, working.tokens["mcp:weather"], "tools/call", {"name": "add", "arguments": {}})
    assert "Unknown tool: add. There are: wait" in answer.text
    assert not [call for call in upstream.calls.all() if call.get("tool") == "add"]
    update_upstream(acme.owner, server.id, {"allowed_tools": None})
    assert "add" in weather.tools()


def test_a_server_that_is_down_is_explained_and_its_tools_stay_listed(gateway, acme, claude):
    with McpUpstream() as upstream:
        server = register(acme, upstream.url)
        weather = Weather(gateway, work(acme, claude))
    assert weather.refused("add", a=1, b=1).startswith("mcp_server_unreachable: The server does not answer")
    assert stored(server).status == "unreachable"
    assert "add" in weather.tools()


def test_a_credential_that_is_not_taken_any_more_is_a_persons_matter(gateway, acme, claude, upstream):
    upstream.header = ("authorization", "Bearer one")
    server = register(acme, upstream.url, auth="header", credential="Bearer one")
    weather = Weather(gateway, work(acme, claude))
    assert not weather.call("add", a=1, b=1).is_error
    upstream.header = ("authorization", "Bearer two")
    words = weather.refused("add", a=1, b=1)
    assert words.startswith("mcp_server_unauthorised:")
    assert "A person must connect it again" in words
    assert stored(server).status == "unauthorised"
    update_upstream(acme.owner, server.id, {"credential": "Bearer two"})
    assert not weather.call("add", a=1, b=1).is_error


def test_failures_of_a_tool_and_answers_beyond_measure_are_told_as_such(gateway, acme, claude, upstream):
    register(acme, upstream.url)
    weather = Weather(gateway, work(acme, claude))
    assert weather.call("break_down").is_error
    assert weather.refused("huge").startswith("result_too_large:")
    assert not weather.call("add", a=1, b=1).is_error


def test_a_restarted_server_is_asked_anew(gateway, acme, claude):
    with McpUpstream(speaks="handshake") as upstream:
        register(acme, upstream.url)
        weather = Weather(gateway, work(acme, claude))
        assert not weather.call("add", a=1, b=1).is_error
        upstream.forget_sessions()
        assert not weather.call("add", a=1, b=1).is_error
        assert len([call for call in upstream.calls.all() if call.get("tool") == "add"]) == 2


def test_a_server_in_the_sandbox_is_nothing_that_the_gateway_serves(gateway, acme, claude, upstream):
    elsewhere = register(acme, upstream.url)
    working = work(acme, claude)
    delete_upstream(acme.owner, elsewhere.id)
    register_upstream(
        acme.owner, NewUpstream.model_validate({"name": "weather", "transport": "stdio", "command": "sh"})
    )
    assert "mcp:weather" not in work(acme, claude).tokens
    answer = rpc(f"{gateway}/mcp/weather", working.tokens["mcp:weather"], "tools/list")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "mcp_server_not_found")
