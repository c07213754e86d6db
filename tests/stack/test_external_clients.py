"""A person's own MCP client against the running product: from the first 401 to a task of the person's."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Self
from urllib.parse import parse_qs, urlsplit

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

from tests.fakes.oauth_client import CALLBACK, Kept
from tests.stack.running import RunningStack

pytestmark = [pytest.mark.stack, pytest.mark.engine]
_HIDDEN = re.compile(r'<input type="hidden" name="([a-z]+)" value="([^"]*)">')


class Browser:
    """The person at a browser: signs in, opens the page that the client sends to, and allows what it offers."""

    def __init__(self, stack: RunningStack) -> None:
        self.http = httpx.Client(base_url=stack.api, follow_redirects=False, timeout=15)
        self._who = {"email": stack.email, "password": stack.password}
        self.answer: dict[str, list[str]] = {}

    def __enter__(self) -> Self:
        self._post("/sign-in", self._who)
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def allow(self, address: str) -> None:
        where = self._post(address, {"reach-platform": "write", "decision": "allow"})
        assert where.startswith(CALLBACK), where
        self.answer = parse_qs(urlsplit(where).query)

    def _post(self, address: str, fields: dict[str, str]) -> str:
        shown = self.http.get(address)
        assert shown.status_code == 200, shown.text
        hidden = dict(_HIDDEN.findall(shown.text.replace("'", '"')))
        done = self.http.post(address, data=hidden | fields, headers={"Referer": str(shown.url)})
        assert done.status_code == 302, done.text
        return done.headers["location"]


@pytest.fixture
def browser(stack: RunningStack) -> Iterator[Browser]:
    """Give the seeded person at a browser."""
    with Browser(stack) as signed_in:
        yield signed_in


def test_a_persons_client_is_connected_and_submits_a_task(stack: RunningStack, browser: Browser):
    url = f"{stack.gateway}/mcp/platform"

    async def go_to(address: str) -> None:
        await asyncio.to_thread(browser.allow, address)

    async def come_back() -> AuthorizationCodeResult:
        return AuthorizationCodeResult(
            **{name: browser.answer[name][0] for name in ("code", "state", "iss") if name in browser.answer}
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
