"""A person's own MCP client against the running product: from the first 401 to a task of the person's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

from tests.fakes.oauth_client import CALLBACK, Kept
from tests.stack.browsing import Browser
from tests.stack.running import RunningStack

pytestmark = [pytest.mark.stack, pytest.mark.engine]


def allow(browser: Browser, address: str) -> dict[str, list[str]]:
    """Allow what the page offers that a client sends its person to; returns what the client is answered."""
    where = browser.submit(address, {"reach-platform": "write", "decision": "allow"})
    assert where.startswith(CALLBACK), where
    return parse_qs(urlsplit(where).query)


@pytest.fixture
def browser(stack: RunningStack) -> Iterator[Browser]:
    """Give the seeded person at a browser."""
    with Browser(stack) as signed_in:
        yield signed_in


def test_a_persons_client_is_connected_and_submits_a_task(stack: RunningStack, browser: Browser):
    url = f"{stack.gateway}/mcp/platform"

    answer: dict[str, list[str]] = {}

    async def go_to(address: str) -> None:
        answer.update(await asyncio.to_thread(allow, browser, address))

    async def come_back() -> AuthorizationCodeResult:
        return AuthorizationCodeResult(
            **{name: answer[name][0] for name in ("code", "state", "iss") if name in answer}
        )

    async def converse() -> str:
        metadata = OAuthClientMetadata(redirect_uris=[CALLBACK], client_name="Editor")
        auth = OAuthClientProvider(url, metadata, Kept(), go_to, come_back)
        async with (
            httpx2.AsyncClient(auth=auth, timeout=60) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            order = {"agent": stack.agents["shell"], "prompt": "echo from the editor"}
            given = await client.call_tool("task_submit", order)
            assert not given.is_error, given
            task_id = given.structured_content["task_id"]
            ended = await client.call_tool("task_wait", {"task_id": task_id, "timeout_s": 45})
            assert "from the editor" in ended.structured_content["text"]
            return task_id

    task = stack.task(asyncio.run(converse()))
    assert task["status"] == "succeeded"
    apps = stack.http.get("/v1/connected_apps").json()["items"]
    assert [app["client_name"] for app in apps] == ["Editor"]
    assert stack.http.delete(f"/v1/connected_apps/{apps[0]['id']}").status_code == 204
