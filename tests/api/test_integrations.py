"""Accounts elsewhere over REST: connecting, scoping, switching off; what is shown and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from services.adapters.accounts.registry import list_kinds
from services.api.accounts import finish_connecting, redirect_uri
from services.domain.agents.actions import archive_agent
from services.domain.errors import AuthorizationInvalid, Conflict
from services.domain.integrations.models import IntegrationAuthorization
from services.kit.clock import now
from tests.api.client import Api
from tests.fakes.gmail_server import ADDRESS, GmailServer
from tests.fakes.google_oauth import CLIENT_ID, CLIENT_SECRET
from tests.fakes.mcp_upstream import give_consent
from tests.gateway.account_cast import use_google


@pytest.fixture
def mailbox(monkeypatch) -> Iterator[GmailServer]:
    """Run a mailbox on loopback."""
    with GmailServer() as server:
        use_google(monkeypatch, server)
        yield server


def add(api: Api, name: str = "work", **fields: object) -> dict:
    made = api.post("/v1/integrations", {"kind": "gmail", "name": name, **fields})
    assert made.status == 201, made.body
    return made.body


def come_back(user, page: str) -> object:
    back = give_consent(page)
    return finish_connecting(user, state=back["state"], code=back["code"], issuer=back["iss"], browser="")


def connected(api: Api, acme, **fields: object) -> str:
    route = f"/v1/integrations/{add(api, **fields)['id']}"
    come_back(acme.users["alice"], api.post(f"{route}/connect").body["authorization_url"])
    return route


def test_the_kinds_say_what_they_ask_for(alice):
    kinds = {kind["kind"]: kind for kind in alice.get("/v1/integration_kinds").body["items"]}
    assert set(kinds) == {kind.manifest.kind for kind in list_kinds()}
    gmail = kinds["gmail"]
    assert (gmail["auth"], gmail["revokes"], gmail["redirect_uri"]) == ("oauth", True, redirect_uri())
    assert set(gmail["settings_schema"]["properties"]) == {"client_id", "may_send"}


def test_an_account_is_added_connected_shown_changed_and_removed(alice, acme, mailbox):
    route = connected(alice, acme, agent_ids=[str(acme.agent.id)])
    shown = alice.get(route).body
    assert (shown["status"], shown["identity"], shown["last_error"]) == ("ok", ADDRESS, "")
    assert (shown["owner_id"], shown["agent_ids"]) == (str(acme.users["alice"].pk), [str(acme.agent.id)])
    assert alice.get("/v1/integrations").body["items"] == [shown]
    changed = alice.patch(route, {"name": "mail", "agent_ids": None, "is_enabled": False}).body
    assert (changed["name"], changed["agent_ids"], changed["is_enabled"]) == ("mail", None, False)
    assert (changed["status"], changed["identity"]) == ("ok", ADDRESS)
    assert alice.post(f"{route}/check").body["status"] == "ok"
    assert alice.delete(route).status == 204
    assert alice.get(route).code == "integration_not_found"
    assert not mailbox.oauth.is_granted


def test_the_way_to_the_provider_has_pkce_and_a_state(alice, mailbox):
    made = add(alice)
    page = alice.post(f"/v1/integrations/{made['id']}/connect").body["authorization_url"]
    asked = {name: values[0] for name, values in parse_qs(urlsplit(page).query).items()}
    assert (asked["code_challenge_method"], asked["client_id"]) == ("S256", CLIENT_ID)
    assert (asked["access_type"], asked["redirect_uri"]) == ("offline", redirect_uri())
    assert len(asked["state"]) > 30


def test_a_state_is_good_once_for_its_person_and_for_a_while_only(alice, acme, globex, mailbox):
    route = f"/v1/integrations/{add(alice)['id']}"
    back = give_consent(alice.post(f"{route}/connect").body["authorization_url"])

    def finish(user, state=back["state"]):
        return finish_connecting(user, state=state, code=back["code"], issuer=back["iss"], browser="")

    for user, state in (
        (acme.users["bob"], back["state"]),
        (globex.users["mallory"], back["state"]),
        (acme.users["alice"], "another"),
        (acme.users["alice"], "ünknown"),
    ):
        with pytest.raises(AuthorizationInvalid):
            finish(user, state)
    assert finish(acme.users["alice"]).status == "ok"
    with pytest.raises(AuthorizationInvalid):
        finish(acme.users["alice"])
    alice.post(f"{route}/connect")
    IntegrationAuthorization.objects.using("operator").update(expires_at=now())
    with pytest.raises(AuthorizationInvalid):
        finish(acme.users["alice"])


def test_an_authorization_of_an_account_that_was_changed_is_dropped(alice, acme, mailbox):
    route = f"/v1/integrations/{add(alice)['id']}"
    page = alice.post(f"{route}/connect").body["authorization_url"]
    alice.patch(route, {"settings": {"client_id": "another"}})
    with pytest.raises(Conflict):
        come_back(acme.users["alice"], page)


def test_another_oauth_client_loses_the_authorization(alice, acme, mailbox):
    route = connected(alice, acme)
    kept = alice.patch(route, {"settings": {"may_send": False}}).body
    assert (kept["status"], kept["settings"]) == ("ok", {"client_id": "", "may_send": False})
    lost = alice.patch(route, {"settings": {"client_id": "another"}}).body
    assert (lost["status"], lost["identity"]) == ("unauthorised", "")


def test_a_client_of_ones_own_is_used_and_never_shown(alice, acme, mailbox, monkeypatch):
    use_google(monkeypatch, mailbox)
    from services.kit.environment import environment

    monkeypatch.setattr(environment(), "google_client_id", "")
    bare = add(alice, "bare")
    refused = alice.post(f"/v1/integrations/{bare['id']}/connect")
    assert (refused.status, "no Google OAuth client" in refused.body["error"]["message"]) == (409, True)
    route = connected(
        alice, acme, settings={"client_id": CLIENT_ID}, credentials={"client_secret": CLIENT_SECRET}
    )
    for answer in (alice.get(route), alice.get("/v1/integrations")):
        assert CLIENT_SECRET.encode() not in answer.raw
    assert alice.get(route).body["status"] == "ok"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"kind": "pigeon"}, "kind"),
        ({"name": ""}, "name"),
        ({"settings": {"nonsense": 1}}, "settings.nonsense"),
        ({"settings": {"may_send": "perhaps"}}, "settings.may_send"),
        ({"credentials": {"password": "x"}}, "credentials.password"),
    ],
)
def test_a_bad_field_is_refused(alice, mailbox, fields, named):
    assert set(alice.post("/v1/integrations", {"kind": "gmail", "name": "a"} | fields).fields) == {named}


def test_a_name_is_there_once_for_each_owner(alice, acme, mailbox):
    add(alice)
    taken = alice.post("/v1/integrations", {"kind": "gmail", "name": "work"})
    assert (taken.status, taken.code) == (409, "name_taken")
    add(alice, is_personal=False)
    assert (
        alice.post("/v1/integrations", {"kind": "gmail", "name": "work", "is_personal": False}).status == 409
    )
    add(Api(acme.tokens["bob"]))


def test_agents_that_are_not_ones_own_cannot_be_granted(alice, acme, globex, mailbox):
    refused = alice.post(
        "/v1/integrations", {"kind": "gmail", "name": "a", "agent_ids": [str(globex.agent.id)]}
    )
    assert (refused.status, refused.code) == (404, "agent_not_found")
    route = f"/v1/integrations/{add(alice)['id']}"
    assert alice.patch(route, {"agent_ids": [str(globex.agent.id)]}).code == "agent_not_found"
    alice.patch(route, {"agent_ids": [str(acme.agent.id)]})
    archive_agent(acme.owner, acme.agent.id)
    # What was granted stays as it is; anew an archived agent is granted nothing.
    assert alice.patch(route, {"agent_ids": [str(acme.agent.id)]}).status == 200
    alice.patch(route, {"agent_ids": []})
    assert alice.patch(route, {"agent_ids": [str(acme.agent.id)]}).code == "agent_not_found"


def test_members_have_personal_accounts_only_and_see_no_others(alice, acme, mailbox):
    bob = Api(acme.tokens["bob"])
    refused = bob.post("/v1/integrations", {"kind": "gmail", "name": "a", "is_personal": False})
    assert (refused.status, refused.code) == (403, "role_missing")
    shared, hers, own = add(alice, "shared", is_personal=False), add(alice, "hers"), add(bob, "own")
    assert {item["name"] for item in bob.get("/v1/integrations").body["items"]} == {"shared", "own"}
    assert bob.get(f"/v1/integrations/{hers['id']}").status == 404
    for method, suffix in (("POST", "/check"), ("DELETE", ""), ("POST", "/connect")):
        assert bob.call(method, f"/v1/integrations/{hers['id']}{suffix}").status == 404
        assert bob.call(method, f"/v1/integrations/{shared['id']}{suffix}").code == "role_missing"
    assert bob.patch(f"/v1/integrations/{own['id']}", {"name": "mine"}).body["name"] == "mine"


def test_a_token_needs_the_scope(acme, mailbox):
    from services.domain.identity.actions import create_token

    reader = Api(create_token(acme.owner, name="r", scopes=["integrations:read"])[1])
    other = Api(create_token(acme.owner, name="o", scopes=["agents:read"])[1])
    assert reader.get("/v1/integrations").status == 200
    assert reader.post("/v1/integrations", {"kind": "gmail", "name": "a"}).code == "scope_missing"
    for route in ("integrations", "integration_kinds"):
        assert other.get(f"/v1/{route}").code == "scope_missing"
