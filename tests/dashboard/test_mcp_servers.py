"""The pages about MCP servers: what changed is shown as a difference, and a person is sent to authorize and back."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from services.domain.agents.models import Agent
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.models import UpstreamServer
from services.kit.environment import environment
from tests.dashboard.conftest import at_browser, sign_in
from tests.dashboard.samples import make_server
from tests.fakes.mcp_upstream import AuthorizationServer, McpUpstream, give_consent


@pytest.fixture
def upstream(monkeypatch) -> Iterator[McpUpstream]:
    """Run a server of somebody else's on loopback, and let servers be registered there."""
    monkeypatch.setattr(environment(), "upstream_internal_hosts", "127.0.0.1")
    with McpUpstream() as server:
        yield server


FIELDS = {"name": "weather", "auth": "none", "header_name": "Authorization", "timeout_s": "60"}


def only(acme) -> UpstreamServer:
    with tenant_transaction(acme.organisation.id):
        return UpstreamServer.objects.get()


def test_a_server_is_registered_listed_and_given_to_an_agent(alice, acme, upstream):
    answer = alice.post("/mcp-servers", {**FIELDS, "url": upstream.url, "allowed_tools": "add\nwait"})
    server = only(acme)
    assert answer.headers["Location"] == f"/mcp-servers/{server.id}"
    page = alice.get(answer.headers["Location"]).content.decode()
    assert "Add two numbers." in page
    assert "not allowed" in page
    assert "weather" in alice.get("/mcp-servers").content.decode()
    form = alice.get(f"/agents/{acme.agent.id}").content.decode()
    assert re.search(r'name="mcp_servers" value="weather"', form)
    fields = {
        "name": "Shell", "provider": "shell", "mcp_servers": "weather", "timeout_s": "9", "memory_mb": "512",
        "cpus": "1", "idle_stop_s": "60", "when_busy": "steer",
    }  # fmt: skip
    assert alice.post(f"/agents/{acme.agent.id}", fields).status_code == 302
    with tenant_transaction(acme.organisation.id):
        assert Agent.objects.get(id=acme.agent.id).mcp_servers == ["weather"]


def test_what_is_wrong_stands_in_the_form(alice, upstream):
    answer = alice.post("/mcp-servers", {**FIELDS, "url": "https://10.0.0.1/"})
    assert answer.status_code == 400
    assert "not on the public internet" in answer.content.decode()


def test_a_server_for_the_sandbox_is_registered_and_shown_as_what_is_started(alice, acme):
    fields = {
        **FIELDS, "transport": "stdio", "command": "npx", "args": "-y\n@acme/<mcp>", "env": "MODE=a=b",
        "env_secrets": "API_KEY = ACME_KEY", "allowed_tools": "look",
    }  # fmt: skip
    wrong = alice.post("/mcp-servers", {**fields, "command": "npx -y"})
    assert (wrong.status_code, "no shell reads it" in wrong.content.decode()) == (400, True)
    answer = alice.post("/mcp-servers", fields)
    server = only(acme)
    assert (server.args, server.env, server.env_secrets) == (
        ["-y", "@acme/<mcp>"],
        {"MODE": "a=b"},
        {"API_KEY": "ACME_KEY"},
    )
    page = alice.get(answer.headers["Location"]).content.decode()
    for shown in ("npx", "@acme/&lt;mcp&gt;", "MODE=a=b", "API_KEY from the secret ACME_KEY", "Only look."):
        assert shown in page
    assert "Ask again" not in page
    assert "in the sandbox" in alice.get("/mcp-servers").content.decode()
    assert re.search(
        r'name="mcp_servers" value="weather"', alice.get(f"/agents/{acme.agent.id}").content.decode()
    )


def test_a_changed_tool_is_shown_as_a_difference_and_accepted_as_shown(alice, bob, acme):
    server = make_server(acme)
    path = f"/mcp-servers/{server.id}"
    page = alice.get(path).content.decode()
    assert re.search(r"<ins>[^<]*after a look into the &lt;b&gt;mail", page)
    assert "<b>mail" not in page
    assert "Accept as shown" not in bob.get(path).content.decode()
    bob.post(f"{path}/approve", {"digest": server.tools_digest})
    assert only(acme).status == "changed"
    alice.post(f"{path}/approve", {"digest": "another"})
    assert only(acme).status == "changed"
    alice.post(f"{path}/approve", {"digest": server.tools_digest})
    assert only(acme).status == "ok"


def begin(person, server: UpstreamServer) -> str:
    """Press the button; returns where the page's link leads."""
    page = person.post(f"/mcp-servers/{server.id}/connect").content.decode()
    found = re.search(r'href="(http://127[^"]+/authorize[^"]+)"', page)
    assert found, page
    return html.unescape(found[1])


def test_a_person_authorizes_in_the_browser_and_comes_back(alice, acme, upstream):
    upstream.oauth = AuthorizationServer()
    alice.post("/mcp-servers", {**FIELDS, "auth": "oauth", "url": upstream.url})
    server = only(acme)
    assert server.status == "unauthorised"
    back = f"/integrations/mcp/callback?{urlencode(give_consent(begin(alice, server)))}"
    # Neither somebody else nor another browser of the same person can end it.
    assert at_browser(acme, "bob").get(back).status_code == 302
    sign_in(acme.users["alice"].email).get(back)
    assert only(acme).status == "unauthorised"
    assert alice.get(back).headers["Location"] == f"/mcp-servers/{server.id}"
    assert only(acme).status == "ok"


def test_a_refused_or_invented_return_changes_nothing(alice, acme, upstream):
    for query in ("error=access_denied", "code=x&state=y", "", "code=%00&state=%00"):
        answer = alice.get(f"/integrations/mcp/callback?{query}")
        assert (answer.status_code, answer.headers["Location"]) == (302, "/mcp-servers")
