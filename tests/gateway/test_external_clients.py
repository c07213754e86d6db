"""A person's own MCP client at the gateway, from the first 401 to the last refused token."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client as McpClient
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientMetadata,
)

from services.domain.identity.actions import (
    all_tenants_set_active,
    all_tenants_suspend_organisation,
    create_token,
    remove_member,
)
from services.domain.memory.queries import get_memory
from services.domain.oauth.grants import all_tenants_refresh, disconnect_app
from services.domain.oauth.models import AppToken, ConnectedApp
from services.domain.oauth.servers import PEOPLE_SERVERS
from services.domain.tasks.queries import list_tasks
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.environment import environment
from services.mcp_gateway.everything import BETWEEN
from services.mcp_gateway.http import TOOL_SERVERS
from services.mcp_gateway.limits import LIMITS
from tests.dashboard.conftest import at_browser
from tests.fakes.oauth_client import CALLBACK, Kept, answer_in, authorized
from tests.fakes.served_api import served_api
from tests.gateway.serving import Caller, message_of, rpc
from tests.gateway.test_calls import recorded
from tests.gateway.test_tracing import FORGED, assert_connected, spans_of

NO_GOOD = {
    "error": {"code": "token_invalid", "message": "The token is unknown, expired or for something else."}
}


@pytest.fixture
def public(gateway, monkeypatch) -> str:
    """Let the gateway's address of the test be its public one."""
    monkeypatch.setattr(environment(), "gateway_public_url", gateway)
    return gateway


class Editor:
    """A person's editor, made with the real client library; the person sits at a browser and answers."""

    def __init__(self, url: str, person: Any, **fields: str) -> None:
        self.url, self.person, self.fields = url, person, fields
        self.storage, self.asked = Kept(), []

    async def _open_browser(self, address: str) -> None:
        path = address[address.index("/oauth/authorize") :]
        self.asked.append(path)
        await asyncio.to_thread(self.person.get, path)
        answer = await asyncio.to_thread(self.person.post, path, {"decision": "allow", **self.fields})
        assert answer.status_code == 302, answer.content.decode()
        self.answer = answer_in(answer.headers["Location"])

    async def _come_back(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult(**{name: self.answer.get(name) for name in ("code", "state", "iss")})

    def run(self, converse: Any, mode: str = "auto") -> Any:
        async def whole() -> Any:
            self.auth = auth = OAuthClientProvider(
                self.url,
                OAuthClientMetadata(redirect_uris=[CALLBACK], client_name="Editor"),
                self.storage,
                self._open_browser,
                self._come_back,
            )
            async with (
                httpx2.AsyncClient(auth=auth, timeout=20) as http,
                McpClient(streamable_http_client(self.url, http_client=http), mode=mode) as client,
            ):
                return await converse(client)

        return asyncio.run(whole())


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_the_real_client_library_goes_the_whole_way(public, acme, monkeypatch, mode):
    with served_api() as api:
        monkeypatch.setattr(environment(), "public_url", api)
        editor = Editor(
            f"{public}/mcp/memory",
            at_browser(acme, "bob"),
            **{"reach-memory": "write", "agent": str(acme.agent.id)},
        )

        async def converse(client):
            await client.call_tool("memory_write", {"name": "likes", "body": "Tea."})
            first = editor.storage.tokens.refresh_token
            # A spent access token is replaced by refreshing, without a word to the person.
            await asyncio.to_thread(_expire_access_tokens)
            editor.auth.context.token_expiry_time = 1.0
            read = await client.call_tool("memory_read", {"name": "likes"})
            assert editor.storage.tokens.refresh_token != first
            return read

        assert editor.run(converse, mode).structured_content["body"] == "Tea."
        assert len(editor.asked) == 1
        with tenant_transaction(acme.organisation.id):
            assert get_memory(acme.people["bob"], acme.agent.id, "likes").body == "Tea."


def _expire_access_tokens() -> None:
    AppToken.objects.using("operator").filter(kind="access").update(expires_at=now())


def test_a_program_that_may_only_read_asks_again_for_more(public, acme, monkeypatch):
    with served_api() as api:
        monkeypatch.setattr(environment(), "public_url", api)
        person = at_browser(acme, "alice")
        editor = Editor(
            f"{public}/mcp/memory", person, **{"reach-memory": "read", "agent": str(acme.agent.id)}
        )
        assert editor.run(lambda client: client.list_tools(), "legacy").tools
        editor.fields["reach-memory"] = "write"
        written = editor.run(
            lambda client: client.call_tool("memory_write", {"name": "a", "body": "b"}), "legacy"
        )
        assert not written.is_error
        assert len(editor.asked) == 2


def test_the_metadata_of_every_server_for_people_names_the_authorization_server(public):
    for path in ("", "/mcp", *(f"/mcp/{name}" for name in PEOPLE_SERVERS)):
        found = httpx.get(f"{public}/.well-known/oauth-protected-resource{path}").json()
        assert found["resource"] == f"{public}{path or '/mcp'}"
        assert found["authorization_servers"] == ["http://127.0.0.1:8000"]
        assert all(scope.startswith("mcp:") for scope in found["scopes_supported"])
    agents_only = httpx.get(f"{public}/.well-known/oauth-protected-resource/mcp/notify").json()
    assert "scopes_supported" not in agents_only


def call(url: str, token: str, tool: str, /, headers: dict[str, str] | None = None, **arguments: Any) -> Any:
    return rpc(url, token, "tools/call", {"name": tool, "arguments": arguments}, **(headers or {}))


def test_a_person_is_refused_what_a_running_task_is_needed_for(public, acme):
    _, issued = authorized(acme.owner)
    answer = call(f"{public}/mcp/platform", issued.access_token, "task_submit", prompt="x").json()["result"]
    assert answer["isError"] is True
    assert "No agent is chosen" in answer["content"][0]["text"]


def test_a_persons_program_works_as_the_person(public, acme, globex):
    _, issued = authorized(acme.people["bob"])
    url = f"{public}/mcp/platform"
    given = call(url, issued.access_token, "task_submit", prompt="echo hi", agent="shell").json()["result"]
    with tenant_transaction(acme.organisation.id):
        task = list_tasks(acme.owner).get()
    assert (str(task.id), task.user_id, task.source) == (
        given["structuredContent"]["task_id"], acme.users["bob"].pk, "mcp",
    )  # fmt: skip
    _, others = authorized(globex.owner)
    foreign = call(url, others.access_token, "task_get", task_id=str(task.id)).json()["result"]
    assert foreign["content"][0]["text"].startswith("task_not_found")


def test_a_viewer_changes_nothing_whatever_was_allowed(public, acme):
    from services.domain.identity.models import Membership

    _, issued = authorized(acme.people["bob"])
    Membership.objects.using("operator").filter(user_id=acme.users["bob"].pk).update(role="viewer")
    answer = call(f"{public}/mcp/platform", issued.access_token, "task_submit", prompt="x", agent="shell")
    assert answer.json()["result"]["content"][0]["text"].startswith("scope_missing")


def test_notes_are_those_of_the_agent_that_the_person_chose(public, acme):
    from services.domain.agents.actions import AgentFields, create_agent

    other = create_agent(acme.owner, AgentFields(name="Other"))
    _, issued = authorized(acme.owner, "memory", agent_id=acme.agent.id)
    url = f"{public}/mcp/memory"
    # Only a token of the API may name the agent itself; a program was given one.
    sly = {"X-Slipway-Agent": str(other.id)}
    assert not call(url, issued.access_token, "memory_write", sly, name="a", body="b").json()["result"][
        "isError"
    ]
    with tenant_transaction(acme.organisation.id):
        assert get_memory(acme.owner, acme.agent.id, "a").body == "b"


def test_reading_consent_reads_and_a_change_needs_more_scope(public, acme):
    _, issued = authorized(acme.owner, "memory", "read", acme.agent.id)
    url = f"{public}/mcp/memory"
    assert call(url, issued.access_token, "memory_list").status_code == 200
    refused = call(url, issued.access_token, "memory_write", name="a", body="b")
    assert refused.status_code == 403
    challenge = refused.headers["www-authenticate"]
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="mcp:memory"' in challenge
    assert f'resource_metadata="{public}/.well-known/oauth-protected-resource/mcp/memory"' in challenge
    # The first look at the body and the transport's own may differ; the second one counts.
    twice = (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"memory_write",'
        b'"arguments":{"name":"a","body":"b"},"name":"memory_wri\\u0074e"}}'
    )
    sly = httpx.post(
        url,
        content=twice,
        headers={
            "Authorization": f"Bearer {issued.access_token}", "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25",
        },
    )  # fmt: skip
    assert sly.status_code == 403 or sly.json()["result"]["isError"] is True
    with tenant_transaction(acme.organisation.id):
        assert (
            call(url, issued.access_token, "memory_list").json()["result"]["structuredContent"]["notes"] == []
        )


def test_one_address_serves_what_was_allowed_of_all_servers(public, acme):
    _, issued = authorized(acme.owner, None, "read", acme.agent.id)
    url = f"{public}/mcp"
    listed = message_of(rpc(url, issued.access_token, "tools/list"))["result"]["tools"]
    assert {"memory_read", "task_get"} <= {tool["name"] for tool in listed}
    for tool in ("agent_list", "memory_list"):
        assert message_of(call(url, issued.access_token, tool))["result"]["isError"] is False
    # A token for all at one address is no token for each at its own.
    assert rpc(f"{public}/mcp/memory", issued.access_token, "tools/list").status_code == 401


def test_tools_of_servers_for_people_have_names_of_their_own():
    names = [tool.name for server in TOOL_SERVERS if server.name in PEOPLE_SERVERS for tool in server.tools]
    assert len(names) == len(set(names))
    # So do those of registered servers, which have it in theirs.
    assert not [name for name in names if BETWEEN in name]
    assert set(PEOPLE_SERVERS) <= {server.name for server in TOOL_SERVERS}


def test_an_api_token_with_the_scope_opens_the_server(public, acme):
    _, token = create_token(acme.owner, name="laptop", scopes=["mcp:memory"])
    url, agent = f"{public}/mcp/memory", {"X-Slipway-Agent": "shell"}
    assert not call(url, token, "memory_write", agent, name="a", body="b").json()["result"]["isError"]
    assert (
        call(url, token, "memory_list").json()["result"]["content"][0]["text"].startswith("agent_not_found")
    )
    for wrong in ("nobody", "~", "00000000-0000-0000-0000-000000000000"):
        assert call(url, token, "memory_list", {"X-Slipway-Agent": wrong}).status_code == 404
    assert rpc(f"{public}/mcp/platform", token, "tools/list").status_code == 401
    _, reading = create_token(acme.owner, name="reader", scopes=["mcp:memory:read"])
    assert call(url, reading, "memory_write", agent, name="a", body="b").status_code == 403


def test_every_bad_token_gets_the_same_answer_and_no_word_more(public, acme, globex, working):
    _, good = authorized(acme.owner)
    _, of_memory = authorized(acme.owner, "memory", agent_id=acme.agent.id)
    _, expired = authorized(acme.owner)
    _, revoked = authorized(acme.owner)
    _, api_memory = create_token(acme.owner, name="m", scopes=["mcp:memory"])
    with tenant_transaction(acme.organisation.id):
        newest = AppToken.objects.filter(kind="access").order_by("-id")
        newest.filter(token_hash=_hash(expired.access_token)).update(expires_at=now())
        app = newest.get(token_hash=_hash(revoked.access_token)).app
    disconnect_app(acme.owner, app.id)
    url = f"{public}/mcp/platform"
    bad = {
        "nonsense": "x", "unknown": "swo_unknown", "not ascii": "swo_\u00fc",
        "wrong server": of_memory.access_token, "expired": expired.access_token, "revoked": revoked.access_token,
        "refresh": good.refresh_token, "all scopes of the API": acme.token, "api token of another server": api_memory,
        "foreign": globex.token, "a task's, of another server": working.tokens["mcp:memory"],
    }  # fmt: skip
    answers = {why: rpc(url, token, "tools/list") for why, token in bad.items()}
    assert {why: answer.status_code for why, answer in answers.items()} == dict.fromkeys(bad, 401)
    assert all(answer.json() == NO_GOOD for answer in answers.values())
    assert len({answer.headers["www-authenticate"] for answer in answers.values()}) == 1
    assert rpc(url, good.access_token, "tools/list").status_code == 200


def _hash(text: str) -> str:
    from services.kit.tokens import hash_token

    return hash_token(text)


def test_servers_for_agents_take_no_persons_token(public, acme, working):
    _, token = create_token(acme.owner, name="n", scopes=["mcp:notify"])
    _, issued = authorized(acme.owner)
    for text in (token, issued.access_token):
        refused = rpc(f"{public}/mcp/notify", text, "tools/list")
        assert (refused.status_code, refused.json()) == (401, NO_GOOD)
    assert rpc(f"{public}/mcp/notify", working.tokens["mcp:notify"], "tools/list").status_code == 200


def test_a_sandboxs_socket_takes_no_persons_token(public, acme, working):
    _, issued = authorized(acme.owner)
    _, token = create_token(acme.owner, name="n", scopes=["mcp:platform"])
    for text in (issued.access_token, token):
        refused = rpc(
            f"{public}/mcp/platform", text, "tools/list", **{"x-test-sandbox": str(working.sandbox_id)}
        )
        assert (refused.status_code, refused.json()) == (401, NO_GOOD)
    assert rpc(f"{public}/mcp", issued.access_token, "tools/list", Host="gateway").status_code == 401


def test_a_token_outlives_neither_the_membership_nor_the_account_nor_the_organisation(public, acme):
    url = f"{public}/mcp/platform"
    _, bobs = authorized(acme.people["bob"])
    _, alices = authorized(acme.owner)
    assert rpc(url, bobs.access_token, "tools/list").status_code == 200
    all_tenants_set_active(acme.users["bob"].pk, is_active=False)
    assert rpc(url, bobs.access_token, "tools/list").status_code == 401
    all_tenants_set_active(acme.users["bob"].pk, is_active=True)
    assert rpc(url, bobs.access_token, "tools/list").status_code == 200
    remove_member(acme.owner, acme.users["bob"].pk)
    from services.domain.identity.actions import add_member

    add_member(acme.owner, acme.users["bob"], "member")
    assert rpc(url, bobs.access_token, "tools/list").status_code == 401
    all_tenants_suspend_organisation(acme.organisation.id)
    refused = rpc(url, alices.access_token, "tools/list")
    assert (refused.status_code, refused.json()) == (401, NO_GOOD)


def test_pages_come_in_from_allowed_origins_only(public, acme, monkeypatch):
    _, issued = authorized(acme.owner)
    url = f"{public}/mcp/platform"
    assert rpc(url, issued.access_token, "tools/list", Origin="https://app.example").status_code == 403
    assert httpx.options(url, headers={"Origin": "https://app.example"}).status_code == 403


def test_a_page_of_an_allowed_origin_reads_the_answers(monkeypatch, acme, model_server):
    from services.mcp_gateway.http import AgentHttp
    from services.mcp_gateway.llm.vendor import Vendor
    from tests.gateway.serving import served

    monkeypatch.setattr(environment(), "gateway_allowed_origins", "https://app.example")
    with served(AgentHttp(Vendor(model_server.url, None))) as url:
        monkeypatch.setattr(environment(), "gateway_public_url", url)
        _, issued = authorized(acme.owner)
        origin = {"Origin": "https://app.example"}
        asked = httpx.options(f"{url}/mcp/platform", headers=origin)
        assert asked.status_code == 204
        assert "Authorization" in asked.headers["access-control-allow-headers"]
        refused = rpc(f"{url}/mcp/platform", "swo_x", "tools/list", **origin)
        assert refused.headers["access-control-allow-origin"] == "https://app.example"
        assert "WWW-Authenticate" in refused.headers["access-control-expose-headers"]
        evil = rpc(f"{url}/mcp/platform", issued.access_token, "tools/list", Origin="https://evil.example")
        assert "access-control-allow-origin" not in evil.headers


def test_a_program_that_calls_too_fast_waits(public, acme, monkeypatch):
    monkeypatch.setattr(environment(), "mcp_flood_burst", 2)
    monkeypatch.setattr(environment(), "mcp_flood_per_s", 0.01)
    _, issued = authorized(acme.owner)
    answers = [rpc(f"{public}/mcp/platform", issued.access_token, "tools/list") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[-1].headers["retry-after"]) > 1
    _, others = authorized(acme.owner)
    assert rpc(f"{public}/mcp/platform", others.access_token, "tools/list").status_code == 200


def test_calls_of_a_persons_program_are_on_record_as_that_persons(public, acme):
    _, issued = authorized(acme.people["bob"], "memory", reach="read", agent_id=acme.agent.id)
    url = f"{public}/mcp/memory"
    call(url, issued.access_token, "memory_list")
    assert call(url, issued.access_token, "memory_write", name="a", body="b").status_code == 403
    rows = recorded(acme, 2)
    assert [(row["kind"], row["server"], row["tool"], row["outcome"], row["code"]) for row in rows] == [
        ("own", "memory", "memory_list", "ok", ""),
        ("own", "memory", "memory_write", "refused", "insufficient_scope"),
    ]
    whose = {(row["user_id"], row["agent_id"], row["task_id"]) for row in rows}
    assert whose == {(acme.users["bob"].pk, acme.agent.id, None)}


def test_each_token_of_a_person_is_limited_by_itself(public, acme, working, monkeypatch):
    LIMITS._leases.clear()
    monkeypatch.setattr(environment(), "mcp_task_per_s", 0.01)
    monkeypatch.setattr(environment(), "mcp_task_burst", 2)
    url, agent = f"{public}/mcp/memory", {"X-Slipway-Agent": "shell"}

    def is_limited(token: str, tool: str) -> bool:
        result = call(url, token, tool, agent).json()["result"]
        text = result["content"][0]["text"]
        assert result["isError"] is text.startswith(
            "rate_limited: Too many tools were called with this token."
        )
        return bool(result["isError"])

    exceeded = LIMITS.exceeded.get("token", 0)
    _, one = create_token(acme.owner, name="one", scopes=["mcp:memory"])
    assert [is_limited(one, "memory_list") for _ in range(3)] == [False, False, True]
    assert LIMITS.exceeded["token"] == exceeded + 1
    _, other = create_token(acme.owner, name="other", scopes=["mcp:memory"])
    client, issued = authorized(acme.owner, "memory", agent_id=acme.agent.id)
    for token in (other, issued.access_token):
        assert [is_limited(token, "memory_list") for _ in range(3)] == [False, False, True]
    # The same connection with its next token is the same caller.
    renewed = all_tenants_refresh(client, issued.refresh_token)
    assert is_limited(renewed.access_token, "memory_list")
    # Nor is an agent at work for that person held up by that person's programs.
    Caller(public, working, "memory")("memory_list")
    assert [row["outcome"] for row in recorded(acme, 11)].count("limited") == 4


def test_a_call_of_a_persons_program_begins_a_trace_of_its_own(public, acme, collector):
    _, issued = authorized(acme.owner)
    given = call(
        f"{public}/mcp/platform",
        issued.access_token,
        "task_submit",
        {"traceparent": FORGED},
        prompt="true",
        agent="shell",
    ).json()["result"]
    assert not given["isError"], given
    with tenant_transaction(acme.organisation.id):
        traceparent = list_tasks(acme.owner).get().traceparent
    spans = spans_of(collector, traceparent)
    assert_connected(spans, root="mcp.call")
    assert [span.links for span in spans if span.name == "mcp.call"] == [("b" * 16,)]


def test_using_a_program_is_noted(public, acme):
    _, issued = authorized(acme.owner)
    ConnectedApp.objects.using("operator").update(last_used_at=None)
    rpc(f"{public}/mcp/platform", issued.access_token, "tools/list")
    assert ConnectedApp.objects.using("operator").get().last_used_at is not None


def arguments_for(schema: dict[str, Any]) -> dict[str, Any]:
    """Return arguments that a tool takes, which name nothing that there is."""
    return {name: _value(schema["properties"][name], schema) for name in schema.get("required", ())}


# What some tools need besides what their schema says.
MORE = {"memory_forget_many": {"names": ["x"]}, "install_packages": {"pip": ["six"]}}


def _value(field: dict[str, Any], schema: dict[str, Any]) -> Any:
    if "$ref" in field:
        field = schema["$defs"][field["$ref"].rpartition("/")[2]]
    if "anyOf" in field:
        field = field["anyOf"][0]
    if "enum" in field or "const" in field:
        return field["enum"][0] if "enum" in field else field["const"]
    if field.get("format") == "uuid":
        return str(uuid.uuid4())
    if field.get("examples"):
        return field["examples"][0]
    return {"string": "x", "integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}[
        field["type"]
    ]


@pytest.mark.parametrize("name", sorted(PEOPLE_SERVERS))
def test_every_tool_answers_a_persons_program_or_says_why_not(public, acme, name):
    _, issued = authorized(acme.owner, name, agent_id=acme.agent.id)
    url, said = f"{public}/mcp/{name}", {}
    for tool in rpc(url, issued.access_token, "tools/list").json()["result"]["tools"]:
        arguments = arguments_for(tool["inputSchema"]) | MORE.get(tool["name"], {})
        params = {"name": tool["name"], "arguments": arguments}
        result = rpc(url, issued.access_token, "tools/call", params).json()["result"]
        said[tool["name"]] = result["content"][0]["text"] if result.get("isError") else "ok"
    assert {tool: text for tool, text in said.items() if text.startswith("internal")} == {}
    if PEOPLE_SERVERS[name].group == "accounts":
        # tests/gateway/test_external_servers.py has one that is connected.
        assert {text.partition(":")[0] for text in said.values()} <= {"account_not_connected", "invalid"}
    else:
        assert "ok" in said.values()
