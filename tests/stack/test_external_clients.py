"""A person's own MCP client against the running product: from the first 401 to a task of the person's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

from tests.fakes.oauth_client import CALLBACK, Kept
from tests.stack.browsing import Browser
from tests.stack.running import RunningStack, registered, until

T = TypeVar("T")
pytestmark = [pytest.mark.stack, pytest.mark.engine]


def allow(browser: Browser, address: str, reach: dict[str, str]) -> dict[str, list[str]]:
    """Allow what a client sends its person to, as far as said for each server; returns what the client is answered."""
    fields = {f"reach-{server}": far for server, far in reach.items()}
    where = browser.submit(address, {**fields, "decision": "allow"})
    assert where.startswith(CALLBACK), where
    return parse_qs(urlsplit(where).query)


@pytest.fixture
def browser(stack: RunningStack) -> Iterator[Browser]:
    """Give the seeded person at a browser."""
    with Browser(stack) as signed_in:
        yield signed_in


async def converse_as_editor(
    url: str, browser: Browser, reach: dict[str, str], converse: Callable[[Client], Awaitable[T]]
) -> T:
    """Connect a client made with the real library, let the person allow it, and use it."""

    answer: dict[str, list[str]] = {}

    async def go_to(address: str) -> None:
        answer.update(await asyncio.to_thread(allow, browser, address, reach))

    async def come_back() -> AuthorizationCodeResult:
        return AuthorizationCodeResult(
            **{name: answer[name][0] for name in ("code", "state", "iss") if name in answer}
        )

    metadata = OAuthClientMetadata(redirect_uris=[CALLBACK], client_name="Editor")
    auth = OAuthClientProvider(url, metadata, Kept(), go_to, come_back)
    async with (
        httpx2.AsyncClient(auth=auth, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        return await converse(client)


def test_a_persons_client_is_connected_and_submits_a_task(stack: RunningStack, browser: Browser):
    async def submit(client: Client) -> str:
        order = {"agent": stack.agents["shell"], "prompt": "echo from the editor"}
        given = await client.call_tool("task_submit", order)
        assert not given.is_error, given
        task_id = given.structured_content["task_id"]
        ended = await client.call_tool("task_wait", {"task_id": task_id, "timeout_s": 45})
        assert "from the editor" in ended.structured_content["text"]
        return task_id

    url = f"{stack.gateway}/mcp/platform"
    task = stack.task(asyncio.run(converse_as_editor(url, browser, {"platform": "write"}, submit)))
    assert task["status"] == "succeeded"
    apps = stack.http.get("/v1/connected_apps").json()["items"]
    assert [app["client_name"] for app in apps] == ["Editor"]
    assert stack.http.delete(f"/v1/connected_apps/{apps[0]['id']}").status_code == 204


def test_a_persons_client_uses_a_registered_server_at_the_one_address(stack: RunningStack, browser: Browser):
    async def add(client: Client) -> list[str]:
        listed = [tool.name for tool in (await client.list_tools()).tools]
        given = await client.call_tool("sums__add", {"a": 20, "b": 22})
        assert given.structured_content == {"sum": 42}
        return listed

    chosen = {"memory": "none", "platform": "read", "upstream/sums": "write"}
    with registered(stack, "sums"):
        listed = asyncio.run(converse_as_editor(f"{stack.gateway}/mcp", browser, chosen, add))
        assert "task_get" in listed
        assert not [name for name in listed if name.startswith(("memory_write", "gmail_"))]
        apps = stack.http.get("/v1/connected_apps").json()["items"]
        assert [sorted(app["scopes"]) for app in apps] == [["mcp:platform:read", "mcp:upstream/sums"]]

        def calls() -> list[dict[str, Any]]:
            made = stack.http.get("/v1/calls", params={"kind": "upstream"}).json()["items"]
            return [call for call in made if call["server"] == "sums"]

        recorded = until(calls, within_s=60, what="the call is on record")
        assert [(call["tool"], call["outcome"], call["task_id"]) for call in recorded] == [
            ("add", "ok", None)
        ]
    # Removing a server takes its scopes from people's programs.
    apps = stack.http.get("/v1/connected_apps").json()["items"]
    assert [app["scopes"] for app in apps] == [["mcp:platform:read"]]
    assert stack.http.delete(f"/v1/connected_apps/{apps[0]['id']}").status_code == 204
