"""A person's own client at accounts and registered servers: what it reaches, and what it does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ToolAnnotations

from services.api.accounts import change_account
from services.api.upstreams import refresh_server
from services.domain.approvals.rule_actions import create_rule
from services.domain.approvals.rules import RuleFields
from services.domain.identity.actions import create_token
from services.domain.identity.models import ApiToken, Membership
from services.domain.oauth.models import ConnectedApp
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.actions import NewUpstream, delete_upstream, register_upstream, update_upstream
from services.domain.vault.models import CredentialAccess
from services.kit.environment import environment
from services.mcp_gateway.holding import rulebook
from services.mcp_gateway.limits import LIMITS
from tests.fakes.gmail_server import GmailServer
from tests.fakes.mcp_upstream import McpUpstream
from tests.fakes.oauth_client import authorized
from tests.gateway.account_cast import add, connect_gmail, use_google
from tests.gateway.serving import message_of, rpc
from tests.gateway.test_calls import recorded
from tests.gateway.test_external_clients import NO_GOOD
from tests.gateway.upstream_cast import register


@pytest.fixture
def public(local_upstreams, gateway, monkeypatch) -> str:
    """Let the gateway's address of the test be its public one, and rules count at once."""
    monkeypatch.setattr(environment(), "gateway_public_url", gateway)
    monkeypatch.setattr(rulebook, "TTL_S", 0.0)
    return gateway


@pytest.fixture
def mailbox(monkeypatch) -> Iterator[GmailServer]:
    """Run a mailbox on loopback."""
    with GmailServer() as server:
        use_google(monkeypatch, server)
        yield server


def token_for(actor: Any, *scopes: str) -> str:
    return create_token(actor, name="laptop", scopes=list(scopes))[1]


def result(url: str, token: str, tool: str, **arguments: Any) -> dict[str, Any]:
    answer = rpc(url, token, "tools/call", {"name": tool, "arguments": arguments})
    found: dict[str, Any] = message_of(answer)["result"]
    return found


def refused(url: str, token: str, tool: str, **arguments: Any) -> str:
    found = result(url, token, tool, **arguments)
    assert found["isError"] is True, found
    return str(found["content"][0]["text"])


def tools_at(url: str, token: str) -> list[str]:
    return [tool["name"] for tool in message_of(rpc(url, token, "tools/list"))["result"]["tools"]]


def only_accesses(tenant: Any) -> list[dict[str, Any]]:
    with tenant_transaction(tenant.organisation.id):
        return list(CredentialAccess.objects.filter(way="upstream").order_by("id").values())


# --- accounts ------------------------------------------------------------------------------------------


def test_a_program_uses_the_accounts_of_its_person_and_an_admin_those_of_the_organisation(
    public, acme, globex, mailbox
):
    connect_gmail(acme, "alices")
    connect_gmail(acme, "shared", is_personal=False)
    url = f"{public}/mcp/gmail"
    alices, bobs = (token_for(acme.people[who], "mcp:gmail") for who in ("alice", "bob"))
    mallorys = token_for(globex.owner, "mcp:gmail")
    for name in ("alices", "shared"):
        given = result(url, alices, "gmail_search", query="", account=name)
        assert given["structuredContent"]["account"] == name
    for token in (bobs, mallorys):
        for account in ({}, {"account": "alices"}, {"account": "shared"}):
            words = refused(url, token, "gmail_search", query="", **account)
            assert words.startswith("account_not_connected: You have no gmail account")
            assert "alices" not in words and "shared" not in words
    connect_gmail(acme, "bobs", who="bob")
    assert result(url, bobs, "gmail_search", query="")["structuredContent"]["account"] == "bobs"
    Membership.objects.using("operator").filter(user_id=acme.users["bob"].pk).update(role="viewer")
    assert refused(url, bobs, "gmail_search", query="").startswith("role_missing")


def test_an_account_for_single_agents_is_for_no_program(public, acme, mailbox):
    row = connect_gmail(acme)
    url, token = f"{public}/mcp/gmail", token_for(acme.owner, "mcp:gmail")
    assert not result(url, token, "gmail_search", query="").get("isError")
    change_account(acme.owner, row.id, {"agent_ids": [acme.agent.id]})
    asked = len(mailbox.calls.all())
    # Nor when the program names that agent: the header says whose notes are meant, and nothing else.
    params = {"name": "gmail_search", "arguments": {"query": "", "account": "work"}}
    sly = rpc(url, token, "tools/call", params, **{"X-Slipway-Agent": str(acme.agent.id)})
    assert "is granted to single agents only" in message_of(sly)["result"]["content"][0]["text"]
    assert refused(url, token, "gmail_search", query="").startswith("account_not_connected:")
    assert len(mailbox.calls.all()) == asked


def test_repositories_of_an_account_that_limits_single_agents_are_for_no_program(acme):
    from services.adapters.accounts.github.adapter import GithubSettings

    both = {"app_id": "1", "installation_id": 1, "repositories": ["acme/one", "acme/two"]}
    limited = GithubSettings.model_validate(both | {"agent_repositories": {acme.agent.id: ["acme/one"]}})
    assert limited.repositories_of(acme.agent.id) == ["acme/one"]
    assert limited.repositories_of(acme.organisation.id) == ["acme/one", "acme/two"]
    assert limited.repositories_of(None) == []
    assert GithubSettings.model_validate(both).repositories_of(None) == ["acme/one", "acme/two"]


def test_what_a_program_does_with_an_account_is_on_record_as_the_persons(public, acme, mailbox):
    connect_gmail(acme)
    connect_gmail(acme, "bobs", who="bob", is_personal=True)
    url = f"{public}/mcp/gmail"
    for who in ("alice", "bob"):
        token = token_for(acme.people[who], "mcp:gmail:read")
        result(url, token, "gmail_search", query="")
        draft = {"name": "gmail_create_draft", "arguments": {"to": ["a@b.example"], "body": "x"}}
        beyond = rpc(url, token, "tools/call", draft)
        assert beyond.status_code == 403
        assert 'scope="mcp:gmail"' in beyond.headers["www-authenticate"]
    rows = recorded(acme, 4)
    assert [(row["server"], row["tool"], row["outcome"]) for row in rows[:2]] == [
        ("gmail", "gmail_search", "ok"),
        ("gmail", "gmail_create_draft", "refused"),
    ]
    people = [acme.users["alice"].pk, acme.users["bob"].pk]
    assert {(row["user_id"], row["task_id"], row["agent_id"]) for row in rows} == {
        (person, None, None) for person in people
    }
    used = [(row["credential_name"], row["user_id"], row["task_id"]) for row in only_accesses(acme)]
    assert used == [("work", people[0], None), ("bobs", people[1], None)]


def test_rules_about_every_agent_bind_programs_and_others_do_not(public, acme, mailbox):
    connect_gmail(acme, who="bob")
    url, token = f"{public}/mcp/gmail", token_for(acme.people["bob"], "mcp:gmail")
    mail = {"to": ["x@y.example"], "subject": "s", "body": "b"}

    def send() -> dict[str, Any]:
        return result(url, token, "gmail_send", **mail)

    def rule(effect: str, **fields: Any) -> None:
        create_rule(
            acme.owner, RuleFields.model_validate({"effect": effect, "tool": "gmail.gmail_send", **fields})
        )

    # What would be held of an agent is done: the person does it.
    assert not send().get("isError")
    rule("deny", agent_id=acme.agent.id)
    rule("hold")
    assert not send().get("isError")
    sent = len(mailbox.calls.all())
    rule("hold", priority=1, decider_role="admin")
    assert send()["content"][0]["text"].startswith("others_must_allow: A rule of your organisation")
    rule("hold", priority=2, people=2)
    assert send()["content"][0]["text"].startswith("others_must_allow:")
    rule("deny", priority=3)
    assert send()["content"][0]["text"].startswith("denied: A rule of your organisation forbids")
    assert len(mailbox.calls.all()) == sent
    assert [row["outcome"] for row in recorded(acme, 5)] == ["ok", "ok", "refused", "refused", "refused"]


# --- registered servers --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
@pytest.mark.parametrize("path", ["/mcp/weather", "/mcp"])
def test_a_program_calls_a_registered_server_and_hears_of_progress(public, acme, upstream, mode, path):
    upstream.header = ("x-api-key", "of-the-server")
    register(acme, upstream.url, auth="header", header_name="X-API-Key", credential="of-the-server")
    token = token_for(acme.people["bob"], "mcp:upstream/weather")
    prefix = "weather__" if path == "/mcp" else ""
    heard: list[str | None] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append(message)
        upstream.release()

    async def converse() -> Any:
        headers = {"Authorization": f"Bearer {token}", "X-Mine": "secret"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=30) as http,
            Client(streamable_http_client(f"{public}{path}", http_client=http), mode=mode) as client,
        ):
            listed = [tool.name for tool in (await client.list_tools()).tools]
            added = await client.call_tool(f"{prefix}add", {"a": 2, "b": 3})
            # It ends only because its progress was heard.
            await client.call_tool(f"{prefix}wait", progress_callback=on_progress)
            return listed, added.structured_content

    listed, added = asyncio.run(converse())
    assert listed == [f"{prefix}{name}" for name in ("add", "wait", "huge", "break_down")]
    assert (added, heard) == ({"sum": 5}, ["half way"])
    seen = json.dumps([call["headers"] for call in upstream.calls.all() if "http" in call])
    assert "of-the-server" in seen
    assert token not in seen and "x-mine" not in seen and "authorization" not in seen
    assert [row["tool"] for row in recorded(acme, 2)] == ["add", "wait"]
    bob = acme.users["bob"].pk
    assert {(row["kind"], row["user_id"], row["task_id"]) for row in recorded(acme, 2)} == {
        ("upstream", bob, None)
    }
    assert {(row["credential_name"], row["user_id"], row["task_id"]) for row in only_accesses(acme)} == {
        ("weather", bob, None)
    }


@pytest.mark.parametrize("path", ["/mcp/weather", "/mcp"])
def test_a_program_that_reads_calls_only_what_was_reviewed_as_reading(public, acme, upstream, path):
    say_it_reads(upstream, "add")
    server = register(acme, upstream.url)
    url, prefix = f"{public}{path}", "weather__" if path == "/mcp" else ""
    token = token_for(acme.owner, "mcp:upstream/weather:read")
    assert f"{prefix}break_down" in tools_at(url, token)
    assert not result(url, token, f"{prefix}add", a=1, b=1).get("isError")
    params = {"name": f"{prefix}break_down", "arguments": {}}
    beyond = rpc(url, token, "tools/call", params)
    assert beyond.status_code == 403
    assert 'scope="mcp:upstream/weather"' in beyond.headers["www-authenticate"]
    # A look at the body that sees another tool than the transport decides nothing.
    name = f"{prefix}break_down"
    twice = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).replace(
        f'"{name}"', f'"{name}", "name": "{name[:-1]}\\u006e"'
    )
    headers = {
        "Authorization": f"Bearer {token}", "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25",
    }  # fmt: skip
    sly = httpx.post(url, content=twice.encode(), headers=headers)
    assert sly.status_code == 403 or message_of(sly)["result"]["isError"] is True
    # What says now that it only reads, and did not when it was reviewed, is not served at all.
    say_it_reads(upstream, "break_down")
    refresh_server(acme.owner, server.id)
    words = refused(url, token, f"{prefix}break_down")
    assert words.startswith("tool_withheld:")
    assert f"{prefix}break_down" not in tools_at(url, token)
    assert not [call for call in upstream.calls.all() if call.get("tool") == "break_down"]


def say_it_reads(upstream: McpUpstream, name: str) -> None:
    annotations = ToolAnnotations(read_only_hint=True)
    upstream.tools[name] = upstream.tools[name].model_copy(update={"annotations": annotations})


def test_the_allowlist_and_the_limits_of_a_token_hold_at_registered_servers(
    public, acme, upstream, monkeypatch
):
    LIMITS._leases.clear()
    server = register(acme, upstream.url, allowed_tools=["add"])
    url = f"{public}/mcp/weather"
    one, other = (token_for(acme.owner, "mcp:upstream/weather") for _ in range(2))
    assert tools_at(url, one) == ["add"]
    hidden = rpc(url, one, "tools/call", {"name": "break_down", "arguments": {}})
    assert "Unknown tool: break_down. There are: add" in hidden.text
    monkeypatch.setattr(environment(), "mcp_task_per_s", 0.01)
    monkeypatch.setattr(environment(), "mcp_task_burst", 2)
    answers = [result(url, one, "add", a=1, b=1).get("isError", False) for _ in range(3)]
    assert answers == [False, False, True]
    assert not result(url, other, "add", a=1, b=1).get("isError")
    update_upstream(acme.owner, server.id, {"allowed_tools": []})
    assert tools_at(url, other) == []


def test_who_may_not_use_a_server_learns_nothing_of_it(public, acme, globex, upstream):
    register(acme, upstream.url, is_personal=True)
    register(globex, upstream.url, name="climate")
    register_upstream(
        acme.owner, NewUpstream.model_validate({"name": "local", "transport": "stdio", "command": "sh"})
    )
    alices, bobs = (token_for(acme.people[who], "mcp:upstream/weather") for who in ("alice", "bob"))
    _, for_platform = authorized(acme.owner)
    bad = {
        "somebody else's personal one": ("weather", bobs),
        "another organisation's": ("climate", token_for(acme.owner, "mcp:upstream/climate")),
        "none": ("nowhere", token_for(acme.owner, "mcp:upstream/nowhere")),
        "in a sandbox": ("local", token_for(acme.owner, "mcp:upstream/local")),
        "another scope": ("weather", token_for(acme.owner, "mcp:platform")),
        "a scope without the prefix": ("weather", token_for(acme.owner, "mcp:weather")),
        "of another resource": ("weather", for_platform.access_token),
        "nonsense": ("weather", "sw_nonsense"),
        "nobody's": ("weather", "x"),
    }
    assert tools_at(f"{public}/mcp/weather", alices)
    for why, (name, token) in bad.items():
        answer = rpc(f"{public}/mcp/{name}", token, "tools/list")
        assert (answer.status_code, answer.json()) == (401, NO_GOOD), why
        assert f'scope="mcp:upstream/{name}"' in answer.headers["www-authenticate"]
    # At the one address they are as good as not there.
    assert tools_at(f"{public}/mcp", bobs) == []
    unknown = rpc(f"{public}/mcp", bobs, "tools/call", {"name": "weather__add", "arguments": {}})
    assert "Unknown tool: weather__add" in unknown.text
    Membership.objects.using("operator").filter(user_id=acme.users["alice"].pk).update(role="viewer")
    assert rpc(f"{public}/mcp/weather", alices, "tools/list").status_code == 401


def test_names_that_no_server_can_have_are_not_found(public, acme):
    token = token_for(acme.owner, "mcp:memory")
    for name in ("%E2%98%83", "a%22b", "Upper", "x" * 41):
        for shown in (token, "swt_x"):
            assert rpc(f"{public}/mcp/{name}", shown, "tools/list").status_code == 404


def test_metadata_is_the_same_whether_there_is_such_a_server_or_not(public, acme, upstream):
    register(acme, upstream.url)
    described = []
    for name in ("weather", "nowhere"):
        found = httpx.get(f"{public}/.well-known/oauth-protected-resource/mcp/{name}").json()
        described.append(json.dumps(found).replace(name, "it"))
        assert found["scopes_supported"] == [f"mcp:upstream/{name}", f"mcp:upstream/{name}:read"]
    assert described[0] == described[1]
    everything = httpx.get(f"{public}/.well-known/oauth-protected-resource/mcp").json()
    assert everything["scopes_supported"][:2] == ["mcp:*", "mcp:*:read"]
    assert "weather" not in json.dumps(everything)


def test_a_server_that_is_removed_was_allowed_to_nobody_afterwards(public, acme, upstream):
    server = register(acme, upstream.url)
    token = token_for(acme.owner, "mcp:upstream/weather:read", "mcp:memory")
    _, issued = authorized(acme.owner, "weather")
    _, all_of_it = authorized(acme.owner, None, agent_id=acme.agent.id)
    url = f"{public}/mcp/weather"
    assert tools_at(url, token) == tools_at(url, issued.access_token)
    delete_upstream(acme.owner, server.id)
    register(acme, upstream.url)
    for text in (token, issued.access_token):
        assert rpc(url, text, "tools/list").status_code == 401
    assert not [name for name in tools_at(f"{public}/mcp", all_of_it.access_token) if "__" in name]
    with tenant_transaction(acme.organisation.id):
        left = [
            *ApiToken.objects.values_list("scopes", flat=True),
            *ConnectedApp.objects.values_list("scopes", flat=True),
        ]
    assert not [scope for scopes in left for scope in scopes if "upstream" in scope]


def test_one_address_lists_what_was_allowed_and_no_more(public, acme, upstream, mailbox):
    register(acme, upstream.url)
    register(acme, upstream.url, name="weather__add")
    connect_gmail(acme)
    url = f"{public}/mcp"
    token = token_for(acme.owner, "mcp:upstream/weather", "mcp:upstream/weather__add", "mcp:gmail:read")
    listed = tools_at(url, token)
    assert len(listed) == len(set(listed))
    assert {"gmail_search", "weather__add", "weather__add__add"} <= set(listed)
    assert not [name for name in listed if name.startswith(("memory_", "task_", "mail_"))]
    assert result(url, token, "weather__add__add", a=1, b=1)["structuredContent"] == {"sum": 2}
    assert [row["server"] for row in recorded(acme, 1)] == ["weather__add"]
    assert not result(url, token, "gmail_search", query="").get("isError")


def test_one_address_does_not_wait_for_a_server_that_is_away(public, acme, upstream):
    register(acme, upstream.url)
    with McpUpstream() as gone:
        register(acme, gone.url, name="gone")
    token = token_for(acme.owner, "mcp:upstream/weather", "mcp:upstream/gone")
    assert {"weather__add", "gone__add"} <= set(tools_at(f"{public}/mcp", token))
    assert refused(f"{public}/mcp", token, "gone__add", a=1, b=1).startswith("mcp_server_unreachable")
    assert not result(f"{public}/mcp", token, "weather__add", a=1, b=1).get("isError")


def test_two_programs_of_a_person_share_no_conversation_with_a_server(public, acme):
    with McpUpstream(speaks="handshake") as upstream:
        register(acme, upstream.url)
        for token in (token_for(acme.owner, "mcp:upstream/weather") for _ in range(2)):
            for _ in range(2):
                assert not result(f"{public}/mcp/weather", token, "add", a=1, b=1).get("isError")
        calls = [call["headers"] for call in upstream.calls.all() if call.get("http") == "POST"]
    sessions = [headers.get("mcp-session-id") for headers in calls if headers.get("mcp-method") is None]
    # The first is that of the registration, which listed the tools.
    assert len(set(filter(None, sessions))) == 3


def test_a_rule_that_forbids_a_registered_servers_tool_binds_programs(public, acme, upstream):
    register(acme, upstream.url)
    create_rule(acme.owner, RuleFields(effect="deny", tool="weather.*"))
    token = token_for(acme.owner, "mcp:upstream/weather")
    for path, name in (("/mcp/weather", "add"), ("/mcp", "weather__add")):
        assert refused(f"{public}{path}", token, name, a=1, b=1).startswith("denied:")
    assert not [call for call in upstream.calls.all() if call.get("tool") == "add"]


def test_an_account_that_is_not_connected_is_not_offered_at_the_one_address(public, acme, mailbox):
    add(acme.owner, "gmail", "new", agent_ids=[acme.agent.id])
    _, issued = authorized(acme.owner, None, agent_id=acme.agent.id)
    assert not {"mcp:gmail", "mcp:teller"} & set(issued.scopes)
    connect_gmail(acme)
    _, issued = authorized(acme.owner, None, agent_id=acme.agent.id)
    assert {"mcp:gmail", "mcp:memory", "mcp:platform"} == set(issued.scopes)
