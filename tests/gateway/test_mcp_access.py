"""Who reaches an MCP server, and how the protocol answers."""

from __future__ import annotations

import asyncio

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from services.domain.agents.actions import update_agent
from services.domain.tasks.models import TaskToken
from services.domain.tasks.submit import cancel_task
from services.kit.clock import now
from services.mcp_gateway.http import TOOL_SERVERS
from tests.gateway.serving import Working, at_work, rpc

SERVERS = [server.name for server in TOOL_SERVERS]


@pytest.fixture
def working(acme, claude) -> Working:
    """Put an agent that lists every server to work."""
    update_agent(acme.owner, claude.id, {"mcp_servers": SERVERS})
    return at_work(acme, claude)


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
def test_a_client_of_either_revision_lists_and_calls_tools(gateway, working, mode):
    async def converse():
        headers = {"Authorization": f"Bearer {working.tokens['mcp:memory']}"}
        async with (
            httpx2.AsyncClient(headers=headers) as http,
            Client(streamable_http_client(f"{gateway}/mcp/memory", http_client=http), mode=mode) as client,
        ):
            listed = await client.list_tools()
            written = await client.call_tool("memory_write", {"name": "a", "body": "b"})
            return listed.tools, written

    tools, written = asyncio.run(converse())
    assert [tool.name for tool in tools] == [
        "memory_write", "memory_append", "memory_forget", "memory_forget_many",
        "memory_read", "memory_search", "memory_list",
    ]  # fmt: skip
    assert not written.is_error
    assert written.structured_content["size_bytes"] == 1


def test_every_tool_has_a_description_and_closed_schemas():
    for server in TOOL_SERVERS:
        for tool in server.tools:
            listing = tool.listing()
            assert len(listing.description) > 40, tool.name
            assert listing.input_schema["additionalProperties"] is False
            assert listing.output_schema["additionalProperties"] is False


@pytest.mark.parametrize("server", SERVERS)
def test_every_server_lists_its_tools(gateway, working, server):
    answer = rpc(f"{gateway}/mcp/{server}", working.tokens[f"mcp:{server}"], "tools/list")
    tools = next(known.tools for known in TOOL_SERVERS if known.name == server)
    assert [tool["name"] for tool in answer.json()["result"]["tools"]] == [tool.name for tool in tools]


def assert_unauthorized(answer: httpx.Response, server: str) -> None:
    assert answer.status_code == 401
    assert answer.json() == {
        "error": {"code": "token_invalid", "message": "The token is unknown, expired or for something else."}
    }
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith('Bearer error="invalid_token"')
    metadata = challenge.partition('resource_metadata="')[2].rstrip('"')
    described = httpx.get(metadata)
    assert described.status_code == 200
    assert described.json()["resource"] == metadata.replace("/.well-known/oauth-protected-resource", "")
    assert described.json()["resource"].endswith(f"/mcp/{server}")


@pytest.mark.parametrize("server", SERVERS)
def test_bad_tokens_are_refused_alike(gateway, working, acme, server):
    url = f"{gateway}/mcp/{server}"
    others = [token for audience, token in working.tokens.items() if audience != f"mcp:{server}"]
    for token in ["nonsense", "swt_unknown", "swt_ünknown", acme.token, *others]:
        assert_unauthorized(rpc(url, token, "tools/list"), server)


def test_a_call_without_the_header_is_refused(gateway, working):
    assert_unauthorized(httpx.post(f"{gateway}/mcp/memory", json={}), "memory")
    basic = {"Authorization": f"Basic {working.tokens['mcp:memory']}"}
    assert_unauthorized(httpx.post(f"{gateway}/mcp/memory", json={}, headers=basic), "memory")


def test_an_expired_token_is_refused(gateway, working):
    TaskToken.objects.using("operator").filter(task_id=working.task.id).update(expires_at=now())
    assert_unauthorized(rpc(f"{gateway}/mcp/memory", working.tokens["mcp:memory"], "tools/list"), "memory")


def test_a_token_dies_with_its_task(gateway, working):
    url, token = f"{gateway}/mcp/memory", working.tokens["mcp:memory"]
    assert rpc(url, token, "tools/list").status_code == 200
    working.end()
    assert_unauthorized(rpc(url, token, "tools/list"), "memory")


def test_a_token_is_good_on_its_own_sandboxs_socket_only(gateway, working, acme, claude):
    other = at_work(acme, claude)
    url, token = f"{gateway}/mcp/memory", working.tokens["mcp:memory"]
    own = rpc(url, token, "tools/list", **{"x-test-sandbox": str(working.sandbox_id)})
    assert own.status_code == 200
    foreign = rpc(url, token, "tools/list", **{"x-test-sandbox": str(other.sandbox_id)})
    assert_unauthorized(foreign, "memory")


def test_there_are_no_sessions_to_listen_to_or_to_end(gateway, working):
    for method in ("GET", "DELETE", "PUT"):
        answer = httpx.request(
            method,
            f"{gateway}/mcp/memory",
            headers={
                "Authorization": f"Bearer {working.tokens['mcp:memory']}",
                "Accept": "text/event-stream",
            },
        )
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_another_hosts_name_is_refused(gateway, working):
    url, token = f"{gateway}/mcp/memory", working.tokens["mcp:memory"]
    for good in ("gateway", "gw", "localhost:8800", "127.0.0.1:1"):
        assert rpc(url, token, "tools/list", Host=good).status_code == 200
    for bad in ("evil.example", "gateway.evil.example", 'gateway:"x', ""):
        assert rpc(url, token, "tools/list", Host=bad).status_code in (400, 421)
    assert rpc(url, token, "tools/list", Origin="http://evil.example").status_code == 403


def test_unknown_methods_servers_and_tools_are_said_to_be_unknown(gateway, working):
    url, token = f"{gateway}/mcp/memory", working.tokens["mcp:memory"]
    for method in ("no/such/method", "resources/list", "subscriptions/listen"):
        assert rpc(url, token, method).json()["error"]["code"] == -32601
    unknown = rpc(url, token, "tools/call", {"name": "rm", "arguments": {}}).json()["error"]
    assert unknown["code"] == -32602
    assert "memory_write" in unknown["message"]
    # A name that nobody has is no other than one that somebody else has.
    assert_unauthorized(rpc(f"{gateway}/mcp/other", token, "tools/list"), "other")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 5_000, b'{"jsonrpc":"2.0"}']
)
def test_garbage_is_a_client_error(gateway, working, body):
    answer = httpx.post(
        f"{gateway}/mcp/memory",
        content=body,
        headers={
            "Authorization": f"Bearer {working.tokens['mcp:memory']}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        },
    )
    assert 400 <= answer.status_code < 500


def test_a_body_of_two_megabytes_is_too_large(gateway, working):
    arguments = {"name": "x", "body": "y" * 2_000_000}
    params = {"name": "memory_write", "arguments": arguments}
    answer = rpc(f"{gateway}/mcp/memory", working.tokens["mcp:memory"], "tools/call", params)
    assert answer.status_code == 413


def test_a_cancelled_task_that_is_still_at_work_keeps_its_token(gateway, working, acme):
    cancel_task(acme.owner, working.task.id)
    answer = rpc(f"{gateway}/mcp/memory", working.tokens["mcp:memory"], "tools/list")
    assert answer.status_code == 200
