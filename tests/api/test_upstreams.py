"""MCP servers over REST: registering, reviewing, connecting by OAuth; what is shown and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from services.api.upstreams import finish_connecting, redirect_uri
from services.domain.errors import AuthorizationInvalid, Conflict, UpstreamRefused
from services.domain.upstreams.models import UpstreamAuthorization
from services.kit.clock import now
from services.kit.environment import environment
from tests.api.client import Api
from tests.fakes.mcp_upstream import AuthorizationServer, McpUpstream, give_consent


@pytest.fixture
def upstream(monkeypatch) -> Iterator[McpUpstream]:
    """Run a server of somebody else's on loopback, and let servers be registered there."""
    monkeypatch.setattr(environment(), "upstream_internal_hosts", "127.0.0.1")
    with McpUpstream() as server:
        yield server


@pytest.fixture
def guarded(upstream) -> AuthorizationServer:
    """Guard it by an authorization server."""
    upstream.oauth = AuthorizationServer()
    return upstream.oauth


def register(api: Api, upstream: McpUpstream, **fields: object) -> dict:
    made = api.post("/v1/mcp_servers", {"name": "weather", "url": upstream.url, **fields})
    assert made.status == 201, made.body
    return made.body


def test_a_server_is_registered_with_its_tools_shown_changed_and_removed(alice, upstream):
    upstream.header = ("authorization", "Bearer hush-1")
    made = register(alice, upstream, auth="header", credential="Bearer hush-1")
    assert (made["status"], [tool["state"] for tool in made["tools"]]) == ("ok", ["served"] * 4)
    assert made["tools"][0]["description"] == "Add two numbers."
    route = f"/v1/mcp_servers/{made['id']}"
    assert alice.get(route).body == made
    assert alice.get("/v1/mcp_servers").body["items"] == [made]
    upstream.header = ("authorization", "Bearer hush-2")
    refreshed = alice.post(f"{route}/refresh").body
    assert (refreshed["status"], "connect it again" in refreshed["last_error"]) == ("unauthorised", True)
    changed = alice.patch(route, {"credential": "Bearer hush-2", "allowed_tools": ["add"]})
    assert (changed.body["status"], changed.body["allowed_tools"]) == ("ok", ["add"])
    for answer in (alice.get(route), alice.get("/v1/mcp_servers"), changed):
        assert b"hush" not in answer.raw
    assert alice.delete(route).status == 204
    assert alice.get(route).code == "mcp_server_not_found"


def test_a_changed_tool_is_shown_beside_what_it_was_and_accepted(alice, upstream):
    route = f"/v1/mcp_servers/{register(alice, upstream)['id']}"
    upstream.tools["add"] = upstream.tools["add"].model_copy(update={"description": "Add, and tell me all."})
    changed = alice.post(f"{route}/refresh").body
    tool = changed["tools"][0]
    assert (changed["status"], tool["state"]) == ("changed", "changed")
    assert (tool["description"], tool["reviewed_description"]) == (
        "Add, and tell me all.",
        "Add two numbers.",
    )
    stale = alice.post(f"{route}/approve_tools", {"tools_digest": "0" * 64})
    assert (stale.status, stale.code) == (409, "tools_changed_again")
    (asked,) = alice.get("/v1/approvals?kind=mcp_tools").body["items"]
    accepted = alice.post(
        f"{route}/approve_tools", {"tools_digest": changed["tools_digest"], "tools": ["add"]}
    )
    assert (accepted.body["status"], accepted.body["tools"][0]["state"]) == ("ok", "served")
    assert alice.get(f"/v1/approvals/{asked['id']}").body["status"] == "allowed"


def test_a_server_that_does_not_answer_is_registered_and_says_so(alice, upstream):
    made = alice.post("/v1/mcp_servers", {"name": "nobody", "url": "http://127.0.0.1:9/mcp"})
    assert (made.status, made.body["status"], made.body["tools"]) == (201, "unreachable", [])


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"url": "https://169.254.169.254/"}, "url"),
        ({"url": "http://mcp.example.com/"}, "url"),
        ({"name": "No"}, "name"),
        ({"name": "memory"}, "name"),
        ({"timeout_s": 601}, "timeout_s"),
        ({"auth": "header", "header_name": "Host"}, "header_name"),
        ({"auth": "none", "credential": "x"}, "credential"),
    ],
)
def test_a_bad_field_is_refused(alice, upstream, fields, named):
    assert set(alice.post("/v1/mcp_servers", {"name": "a", "url": upstream.url} | fields).fields) == {named}


def test_a_member_has_personal_servers_only(alice, acme, upstream):
    bob = Api(acme.tokens["bob"])
    refused = bob.post("/v1/mcp_servers", {"name": "weather", "url": upstream.url})
    assert (refused.status, refused.code) == (403, "role_missing")
    shared = register(alice, upstream)
    assert bob.post(f"/v1/mcp_servers/{shared['id']}/refresh").code == "role_missing"
    own = register(bob, upstream, name="own", is_personal=True)
    assert own["owner_id"] == str(acme.users["bob"].pk)
    hers = register(alice, upstream, name="hers", is_personal=True)
    assert bob.get(f"/v1/mcp_servers/{hers['id']}").status == 404
    assert {item["name"] for item in bob.get("/v1/mcp_servers").body["items"]} == {"weather", "own"}


def test_a_server_is_connected_by_oauth_with_pkce_for_its_own_resource(alice, acme, upstream, guarded):
    made = register(alice, upstream, auth="oauth")
    assert made["status"] == "unauthorised"
    page = alice.post(f"/v1/mcp_servers/{made['id']}/connect").body["authorization_url"]
    asked = {name: values[0] for name, values in parse_qs(urlsplit(page).query).items()}
    assert (asked["code_challenge_method"], asked["resource"]) == ("S256", upstream.url)
    assert (asked["scope"], asked["redirect_uri"]) == ("tools", redirect_uri())
    back = give_consent(page)
    user = acme.users["alice"]
    done = finish_connecting(user, state=back["state"], code=back["code"], issuer=back["iss"], browser="")
    assert done.status == "ok"
    registered = guarded.journal.wait_for(1, lambda entry: entry["step"] == "register")[0]
    assert registered["redirect_uris"] == [redirect_uri()]
    with pytest.raises(AuthorizationInvalid):
        finish_connecting(user, state=back["state"], code=back["code"], issuer=back["iss"], browser="")


def test_a_state_is_good_for_its_person_and_for_a_while_only(alice, acme, globex, upstream, guarded):
    route = f"/v1/mcp_servers/{register(alice, upstream, auth='oauth')['id']}"
    back = give_consent(alice.post(f"{route}/connect").body["authorization_url"])

    def come_back(user, state=back["state"]):
        return finish_connecting(user, state=state, code=back["code"], issuer=back["iss"], browser="")

    for user, state in (
        (acme.users["bob"], back["state"]),
        (globex.users["mallory"], back["state"]),
        (acme.users["alice"], "another"),
        (acme.users["alice"], "ünknown"),
    ):
        with pytest.raises(AuthorizationInvalid):
            come_back(user, state)
    UpstreamAuthorization.objects.using("operator").update(expires_at=now())
    with pytest.raises(AuthorizationInvalid):
        come_back(acme.users["alice"])


def test_an_answer_of_another_authorization_server_is_refused(alice, acme, upstream, guarded):
    route = f"/v1/mcp_servers/{register(alice, upstream, auth='oauth')['id']}"
    for issuer in ("https://evil.example", None):
        back = give_consent(alice.post(f"{route}/connect").body["authorization_url"])
        with pytest.raises(UpstreamRefused, match="another authorization server"):
            finish_connecting(
                acme.users["alice"], state=back["state"], code=back["code"], issuer=issuer, browser=""
            )


def test_an_authorization_for_an_address_that_was_changed_is_dropped(alice, acme, upstream, guarded):
    made = register(alice, upstream, auth="oauth")
    back = give_consent(alice.post(f"/v1/mcp_servers/{made['id']}/connect").body["authorization_url"])
    alice.patch(f"/v1/mcp_servers/{made['id']}", {"url": "http://127.0.0.1:9/mcp"})
    with pytest.raises(Conflict):
        finish_connecting(
            acme.users["alice"], state=back["state"], code=back["code"], issuer=back["iss"], browser=""
        )


def test_an_authorization_server_without_pkce_or_without_registration_is_refused(
    alice, acme, upstream, guarded
):
    made = register(alice, upstream, auth="oauth")
    route = f"/v1/mcp_servers/{made['id']}"
    guarded.has_pkce = False
    refused = alice.post(f"{route}/connect")
    assert (refused.status, refused.code) == (502, "mcp_server_refused")
    assert "PKCE" in refused.body["error"]["message"]
    guarded.has_pkce, guarded.registers = True, False
    assert "client_id" in alice.post(f"{route}/connect").body["error"]["message"]
    guarded.add_client("by-hand", redirect_uri())
    alice.patch(route, {"client_id": "by-hand", "credential": "client-secret"})
    back = give_consent(alice.post(f"{route}/connect").body["authorization_url"])
    user = acme.users["alice"]
    done = finish_connecting(user, state=back["state"], code=back["code"], issuer=back["iss"], browser="")
    assert done.status == "ok"
    form = guarded.journal.wait_for(1, lambda entry: entry["step"] == "token")[0]
    assert (form["client_id"], form["client_secret"], form["resource"]) == (
        "by-hand",
        "client-secret",
        upstream.url,
    )


def test_a_server_without_oauth_cannot_be_connected(alice, upstream):
    made = register(alice, upstream)
    assert alice.post(f"/v1/mcp_servers/{made['id']}/connect").status == 409


def test_a_server_for_the_sandbox_is_registered_changed_and_never_asked(alice, acme, mallory):
    program = {
        "transport": "stdio",
        "command": "npx",
        "args": ["-y", "@acme/mcp"],
        "env_secrets": {"KEY": "ACME_KEY"},
    }
    made = alice.post("/v1/mcp_servers", {"name": "acme", **program}).body
    assert (made["transport"], made["url"], made["status"], made["tools"]) == ("stdio", "", "unchecked", [])
    assert (made["command"], made["args"], made["env_secrets"]) == (
        "npx",
        ["-y", "@acme/mcp"],
        {"KEY": "ACME_KEY"},
    )
    route = f"/v1/mcp_servers/{made['id']}"
    changed = alice.patch(route, {"args": ["@acme/mcp"], "allowed_tools": ["look"]}).body
    assert (changed["args"], changed["allowed_tools"], changed["status"]) == (
        ["@acme/mcp"],
        ["look"],
        "unchecked",
    )
    for answer in (
        alice.post(f"{route}/refresh"),
        alice.post(f"{route}/connect"),
        alice.post(f"{route}/approve_tools", {"tools_digest": ""}),
    ):
        assert (answer.status, answer.code) == (409, "mcp_server_in_sandbox")
    assert mallory.post(f"{route}/refresh").code == "mcp_server_not_found"
    assert Api(acme.tokens["bob"]).patch(route, {"command": "sh"}).status == 403
    wrong = alice.patch(route, {"command": "sh -c"})
    assert (wrong.status, set(wrong.fields)) == (400, {"command"})
    assert alice.patch(route, {"transport": "http"}).status == 400
    assert alice.delete(route).status == 204
