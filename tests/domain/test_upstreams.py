"""Registered MCP servers: who may, what is refused, what a change costs, and what the network lets through."""

from __future__ import annotations

import asyncio
import json
import uuid

import pytest
from pydantic import SecretStr, ValidationError

from conftest import recorded
from services.adapters.upstreams import client
from services.adapters.upstreams.client import list_tools_once
from services.adapters.upstreams.network import Network
from services.domain.agents.actions import update_agent
from services.domain.agents.models import Agent
from services.domain.errors import (
    Invalid,
    NameTaken,
    RoleMissing,
    UpstreamAway,
    UpstreamMissing,
    UpstreamRefused,
    UpstreamUnauthorised,
)
from services.domain.oauth_grants.keeping import open_sealed
from services.domain.ports.upstreams import (
    AuthorizationPlan,
    GrantedTokens,
    OAuthClient,
    OAuthServer,
    RefreshClaim,
    Upstream,
)
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.actions import (
    NewUpstream,
    delete_upstream,
    register_upstream,
    set_credential,
    update_upstream,
)
from services.domain.upstreams.authorization import finish_authorization
from services.domain.upstreams.credentials import SERVER_GRANTS
from services.domain.upstreams.listing import record_failure, record_listing
from services.domain.upstreams.models import UpstreamServer
from services.domain.upstreams.queries import get_upstream, list_upstream_names
from services.domain.upstreams.tools import keep_listings, tool_states
from services.domain.upstreams.urls import check_url
from services.domain.vault import keyring as keyring_module
from services.domain.vault import rotation
from services.domain.vault.keyring import keyring
from services.kit.vault import Keyring
from tests.fakes.mcp_upstream import McpUpstream
from tests.fakes.serving import LocalServer

URL = "https://mcp.example.com/mcp"
ADD = {"name": "add", "description": "Add.", "inputSchema": {"type": "object"}}


def new(**fields) -> NewUpstream:
    return NewUpstream(**{"name": "weather", "url": URL, **fields})


def fresh(server: UpstreamServer) -> UpstreamServer:
    with tenant_transaction(server.org_id):
        return UpstreamServer.objects.get(id=server.id)


@pytest.mark.parametrize(
    "url",
    [
        "http://mcp.example.com/", "ftp://mcp.example.com/", "https:///mcp", "https://user:pw@mcp.example.com/",
        "https://mcp.example.com/#x", "https://127.0.0.1/", "https://[::1]/", "https://169.254.169.254/latest",
        "https://10.0.0.1/", "https://2130706433/", "https://0x7f.1/", "https://127.1/", "https://[::ffff:10.0.0.1]/",
        "https://mcp.example.com:99999/", "https://mcp.example.com/a b", "https://mcp.example.com\\@10.0.0.1/",
        "https://mcp.example.com/\x00", "https://[fd00::1]/", "javascript:alert(1)", "https://" + "a" * 600,
        "https://100.100.100.200/", "https://0.0.0.0/",
    ],
)  # fmt: skip
def test_an_address_that_could_lead_inside_is_refused(url):
    with pytest.raises(Invalid):
        check_url(url, frozenset())


def test_an_address_has_one_form_and_the_operator_may_allow_a_host_of_their_own():
    assert check_url("https://MCP.Example.com.", ()) == "https://mcp.example.com/"
    assert check_url("https://mcp.example.com:8443/mcp?key=1", ()) == "https://mcp.example.com:8443/mcp?key=1"
    assert check_url("http://tools.internal:80/mcp", {"tools.internal"}) == "http://tools.internal:80/mcp"
    assert check_url("http://[::1]:80/", {"::1"}) == "http://[::1]:80/"


def listing(network: Network, url: str) -> list:
    return asyncio.run(list_tools_once(Upstream(url), network, timeout_s=5))


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["::1"], ["169.254.169.254"], ["fe80::1"]]
)
def test_a_name_that_leads_inside_is_not_dialled(addresses):
    async def resolve(host: str) -> list[str]:
        assert host == "mcp.example.com"
        return addresses

    with McpUpstream() as upstream:
        port = upstream.server.port
        with pytest.raises(UpstreamRefused, match="not on the public internet"):
            listing(Network(resolve=resolve), f"https://mcp.example.com:{port}/mcp")
        assert not upstream.calls.all()


def test_a_name_without_an_address_and_a_port_where_nobody_is_are_unreachable():
    async def nowhere(host: str) -> list[str]:
        raise OSError("no such name")

    with pytest.raises(UpstreamAway, match="not resolved"):
        listing(Network(resolve=nowhere), "https://mcp.example.com/mcp")
    with pytest.raises(UpstreamAway, match="does not answer"):
        listing(Network(internal_hosts=frozenset({"127.0.0.1"})), "http://127.0.0.1:9/mcp")


def test_the_network_takes_no_plain_http_whatever_is_stored():
    with pytest.raises(UpstreamRefused, match="without https"):
        listing(Network(), "http://127.0.0.1:9/mcp")


def test_a_redirect_to_elsewhere_is_not_followed():
    with McpUpstream() as target:

        async def app(scope, receive, send):
            location = target.url.replace("127.0.0.1", "localhost").encode()
            await send({"type": "http.response.start", "status": 307, "headers": [(b"location", location)]})
            await send({"type": "http.response.body", "body": b""})

        with LocalServer(app) as leading:
            network = Network(internal_hosts=frozenset({"127.0.0.1", "localhost"}))
            with pytest.raises(UpstreamRefused):
                listing(network, f"{leading.url}/mcp")
        assert not target.calls.all()


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"application/json", b"{"), (200, b"text/html", b"<html>"), (500, b"text/plain", b"no"),
        (200, b"application/json", b"[]"), (200, b"application/json", b"x" * 9_000_000), (202, b"text/plain", b""),
    ],
)  # fmt: skip
def test_a_server_that_speaks_no_mcp_is_said_to_be_wrong(answer):
    status, kind, body = answer

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": body})

    with LocalServer(app) as server, pytest.raises((UpstreamRefused, UpstreamAway)):
        listing(Network(internal_hosts=frozenset({"127.0.0.1"})), f"{server.url}/mcp")


def test_a_server_that_is_silent_is_given_up(monkeypatch):
    monkeypatch.setattr(client, "HANDSHAKE_S", 0.5)

    async def app(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass

    with LocalServer(app) as server, pytest.raises(UpstreamAway, match="in time"):
        listing(Network(internal_hosts=frozenset({"127.0.0.1"})), f"{server.url}/mcp")


def test_only_admins_register_for_all_and_members_for_themselves(acme, globex):
    bob = acme.people["bob"]
    with pytest.raises(RoleMissing):
        register_upstream(bob, new())
    shared = register_upstream(acme.owner, new())
    own = register_upstream(bob, new(name="notes", is_personal=True))
    with tenant_transaction(bob.org_id):
        assert list_upstream_names(bob.user_id) == {"weather", "notes"}
        assert list_upstream_names(acme.owner.user_id) == {"weather"}
        assert get_upstream(bob, own.id) == own
    with pytest.raises(RoleMissing):
        update_upstream(bob, shared.id, {"timeout_s": 5})
    update_upstream(bob, own.id, {"timeout_s": 5})
    for server in (shared, own):
        with pytest.raises(UpstreamMissing):
            update_upstream(globex.owner, server.id, {"timeout_s": 5})
        with pytest.raises(UpstreamMissing):
            delete_upstream(globex.owner, server.id)


def test_names_of_the_platform_and_taken_ones_are_refused(acme):
    register_upstream(acme.owner, new())
    for name in ("weather", "memory", "github"):
        with pytest.raises(NameTaken):
            register_upstream(acme.owner, new(name=name))
    with pytest.raises(ValidationError):
        new(name="No Name")


@pytest.mark.parametrize(
    "fields",
    [
        {"auth": "header", "header_name": "Host"},
        {"auth": "header", "header_name": "Mcp-Session-Id"},
        {"auth": "header", "header_name": "X Y"},
        {"auth": "header", "credential": "two\r\nlines: x"},
        {"auth": "none", "credential": "x"},
        {"auth": "oauth", "credential": "x"},
    ],
)
def test_a_credential_that_could_not_be_sent_is_refused(acme, fields):
    with pytest.raises(Invalid):
        register_upstream(acme.owner, new(**fields))


def test_another_address_loses_the_credential_and_the_review(acme):
    server = register_upstream(acme.owner, new(auth="header", credential="hush"))
    record_listing(server.org_id, server.id, [ADD], shown_to=acme.owner.user_id)
    kept = update_upstream(acme.owner, server.id, {"timeout_s": 5})
    assert (open_sealed(kept), kept.status) == ({"value": "hush"}, "ok")
    moved = update_upstream(acme.owner, server.id, {"url": "https://evil.example.com/"})
    assert (open_sealed(moved), moved.reviewed, moved.tools, moved.status) == ({}, None, [], "unchecked")
    assert open_sealed(set_credential(acme.owner, server.id, SecretStr("new"))) == {"value": "new"}


def test_an_agent_lists_known_servers_only_and_loses_a_removed_one(acme, globex):
    server = register_upstream(acme.owner, new())
    with pytest.raises(Invalid):
        update_agent(globex.owner, globex.agent.id, {"mcp_servers": ["weather"]})
    agent = update_agent(acme.owner, acme.agent.id, {"mcp_servers": ["memory", "weather"]})
    delete_upstream(acme.owner, server.id)
    with tenant_transaction(acme.organisation.id):
        assert Agent.objects.get(id=agent.id).mcp_servers == ["memory"]


def test_an_agent_keeps_somebody_elses_personal_server_when_it_is_changed(acme):
    bob = acme.people["bob"]
    register_upstream(bob, new(is_personal=True))
    update_agent(bob, acme.agent.id, {"mcp_servers": ["weather"]})
    assert update_agent(acme.owner, acme.agent.id, {"name": "Other"}).mcp_servers == ["weather"]


def test_a_listing_is_kept_as_far_as_it_is_usable():
    kept = keep_listings([ADD, {**ADD, "name": "bad name"}, {**ADD, "description": "second"}, {"name": None}])
    assert [tool["listing"] for tool in kept] == [ADD]
    assert keep_listings([{**ADD, "_meta": {"x": 1}, "icons": []}])[0]["listing"] == ADD
    for wrong in (
        [{**ADD, "description": "\x00"}],
        [{**ADD, "description": "\ud800"}],
        [{**ADD, "description": "x" * 1_100_000}],
        [{**ADD, "inputSchema": {"maximum": float("inf")}}],
        [{"name": f"t{n}"} for n in range(501)],
    ):
        with pytest.raises(UpstreamRefused):
            keep_listings(wrong)


def test_a_state_is_told_when_it_changes_and_not_each_time(acme):
    server = register_upstream(acme.owner, new())
    with recorded() as seen:
        for _ in range(3):
            record_failure(server.org_id, server.id, UpstreamAway("It does not answer."))
        record_listing(server.org_id, server.id, [ADD], shown_to=acme.owner.user_id)
        record_listing(server.org_id, server.id, [ADD])
        record_failure(server.org_id, server.id, UpstreamUnauthorised("No."))
    assert [event.data["status"] for event in seen.changes] == ["unreachable", "ok", "unauthorised"]
    assert seen.event_types == ["notification.created"]


def test_a_first_listing_that_no_person_sees_is_not_reviewed(acme):
    server = register_upstream(acme.owner, new())
    listed = record_listing(server.org_id, server.id, [ADD])
    assert listed is not None
    assert (listed.status, [tool.state for tool in tool_states(listed)]) == ("changed", ["new"])


def granted(acme, expires_in: int | None = 3600) -> UpstreamServer:
    server = register_upstream(acme.owner, new(auth="oauth"))
    plan = AuthorizationPlan(
        server_url=URL,
        server=OAuthServer(
            issuer="https://auth.example.com",
            authorization_endpoint="https://auth.example.com/authorize",
            token_endpoint="https://auth.example.com/token",
            resource=URL,
        ),
        client=OAuthClient(client_id="us"),
        redirect_uri="https://slipway.example.com/back",
        verifier="v",
    )
    tokens = GrantedTokens(access_token="at-1", refresh_token="rt-1", expires_in=expires_in)
    return finish_authorization(acme.owner, server.id, plan, tokens)


def test_one_caller_refreshes_and_the_others_wait_for_what_it_gets(acme):
    server = granted(acme, expires_in=1)
    org_id = server.org_id
    claim = SERVER_GRANTS.claim(org_id, server.id, None)
    assert isinstance(claim, RefreshClaim)
    assert claim.grant.refresh_token == "rt-1"
    assert SERVER_GRANTS.claim(org_id, server.id, None) is None
    SERVER_GRANTS.keep(org_id, server.id, uuid.uuid4(), GrantedTokens(access_token="of-a-stranger"))
    assert SERVER_GRANTS.claim(org_id, server.id, None) is None
    SERVER_GRANTS.keep(org_id, server.id, claim.lease, GrantedTokens(access_token="at-2", expires_in=3600))
    assert SERVER_GRANTS.claim(org_id, server.id, "at-1") == "at-2"
    again = SERVER_GRANTS.claim(org_id, server.id, "at-2")
    assert isinstance(again, RefreshClaim)
    # The server gave no other refresh token, so the old one stays good.
    assert again.grant.refresh_token == "rt-1"
    SERVER_GRANTS.give_back(org_id, server.id, again.lease)
    assert isinstance(SERVER_GRANTS.claim(org_id, server.id, "at-2"), RefreshClaim)


def test_a_lost_authorization_is_forgotten_by_whoever_holds_the_claim_only(acme):
    server = granted(acme)
    claim = SERVER_GRANTS.claim(server.org_id, server.id, "at-1")
    assert isinstance(claim, RefreshClaim)
    SERVER_GRANTS.lose(server.org_id, server.id, uuid.uuid4())
    assert open_sealed(fresh(server))
    SERVER_GRANTS.lose(server.org_id, server.id, claim.lease)
    lost = fresh(server)
    assert (open_sealed(lost), lost.status) == ({}, "unauthorised")
    with pytest.raises(UpstreamUnauthorised, match="A person must connect it again"):
        SERVER_GRANTS.claim(server.org_id, server.id, None)


def test_what_is_sealed_moves_to_a_newer_key(acme, monkeypatch):
    server = register_upstream(acme.owner, new(auth="header", credential="hush"))
    register_upstream(acme.owner, new(name="open"))
    assert b"hush" not in bytes(fresh(server).sealed)
    ring = Keyring({"new": b"n" * 32, **keyring()._keys})
    for module in (keyring_module, rotation):
        monkeypatch.setattr(module, "keyring", lambda: ring)
    assert rotation.all_tenants_reseal() == 1
    assert (fresh(server).key_id, open_sealed(fresh(server))) == ("new", {"value": "hush"})


def test_nothing_sealed_is_in_an_event(acme):
    with recorded() as seen:
        server = register_upstream(acme.owner, new(auth="header", credential="hush"))
        record_failure(server.org_id, server.id, UpstreamUnauthorised("No."))
    assert "hush" not in json.dumps([event.data for event in (*seen.events, *seen.changes)])
