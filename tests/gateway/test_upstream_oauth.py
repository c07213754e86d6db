"""A server behind OAuth: its tokens are refreshed on use, by one for all, and a revoked authorization says so."""

from __future__ import annotations

import asyncio

import pytest
from mcp import Client

from conftest import recorded
from services.api.upstreams import connect_server, finish_connecting
from services.domain.errors import UpstreamUnauthorised
from services.domain.upstreams.credentials import SERVER_GRANTS
from services.domain.upstreams.models import UpstreamServer
from tests.fakes.mcp_upstream import AuthorizationServer, give_consent
from tests.gateway.upstream_cast import Weather, register, stored, work

pytestmark = pytest.mark.usefixtures("local_upstreams")


@pytest.fixture
def authorization(upstream) -> AuthorizationServer:
    """Guard the server by an authorization server."""
    upstream.oauth = AuthorizationServer()
    return upstream.oauth


@pytest.fixture
def server(acme, upstream, authorization) -> UpstreamServer:
    """Register the server and connect it as alice."""
    registered = register(acme, upstream.url, auth="oauth")
    assert registered.status == "unauthorised"
    back = give_consent(connect_server(acme.owner, registered.id))
    user = acme.users["alice"]
    return finish_connecting(user, state=back["state"], code=back["code"], issuer=back["iss"], browser="any")


def refreshes(authorization: AuthorizationServer) -> int:
    asked = authorization.journal.all()
    return len([entry for entry in asked if entry.get("grant_type") == "refresh_token"])


def test_a_connected_server_is_used_with_its_access_token(gateway, acme, claude, upstream, server):
    assert (server.status, [tool["listing"]["name"] for tool in server.tools][:1]) == ("ok", ["add"])
    assert Weather(gateway, work(acme, claude)).call("add", a=1, b=1).structured_content == {"sum": 2}
    sent = [
        call["headers"]["authorization"]
        for call in upstream.calls.all()
        if call.get("headers", {}).get("authorization")
    ]
    assert all(value.startswith("Bearer at-") for value in sent)


def test_calls_at_once_refresh_the_token_once(gateway, acme, claude, authorization, server):
    weather = Weather(gateway, work(acme, claude))
    authorization.expire_access_tokens()

    async def converse(client: Client):
        return await asyncio.gather(*(client.call_tool("add", {"a": n, "b": 1}) for n in range(6)))

    results = weather.run(converse)
    assert [result.structured_content for result in results] == [{"sum": n + 1} for n in range(6)]
    assert refreshes(authorization) == 1
    authorization.expire_access_tokens()
    assert not weather.call("add", a=1, b=1).is_error
    assert refreshes(authorization) == 2


def test_a_revoked_authorization_fails_closed_and_says_how_to_connect(
    gateway, acme, claude, authorization, server
):
    weather = Weather(gateway, work(acme, claude))
    authorization.revoke()
    with recorded() as seen:
        words = weather.refused("add", a=1, b=1)
    assert words.startswith("mcp_server_unauthorised:")
    assert "A person must connect it again: in the dashboard under MCP servers, weather." in words
    assert seen.change_types == ["mcp_server.changed"]
    assert seen.event_types == ["notification.created"]
    assert stored(server).status == "unauthorised"
    assert refreshes(authorization) == 1
    with pytest.raises(UpstreamUnauthorised):
        SERVER_GRANTS.claim(server.org_id, server.id, None)
    # Nothing is asked of the authorization server any more.
    assert weather.call("add", a=1, b=1).is_error
    assert refreshes(authorization) == 1


def test_an_authorization_server_that_is_down_costs_the_call_and_not_the_authorization(
    gateway, acme, claude, authorization, server
):
    weather = Weather(gateway, work(acme, claude))
    authorization.expire_access_tokens()
    authorization.is_down = True
    assert weather.refused("add", a=1, b=1).startswith("mcp_server_unreachable:")
    authorization.is_down = False
    assert not weather.call("add", a=1, b=1).is_error
