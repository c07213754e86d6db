"""The authorization server: what clients may ask, what people are asked, and what every wrong step ends in."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from conftest import recorded
from services.domain.errors import NotPermitted
from services.domain.identity.actions import add_member, remove_member
from services.domain.integrations.actions import NewIntegration, connect_integration
from services.domain.oauth.consent import Choice, allow, read_wish
from services.domain.oauth.models import AppToken, AuthorizationCode, ConnectedApp, OAuthClient
from services.domain.oauth.resources import resource_url
from services.domain.oauth.sweeping import all_tenants_sweep_oauth
from services.domain.upstreams.actions import NewUpstream, register_upstream
from services.kit.clock import now
from services.kit.environment import environment
from tests.api.client import Api
from tests.dashboard.conftest import Person, assert_clean, at_browser
from tests.fakes.oauth_client import (
    CALLBACK,
    CHALLENGE,
    answer_in,
    authorized,
    page_of,
    post_form,
    refresh,
    register,
    trade,
    wish_of,
)
from tests.fakes.serving import LocalServer


@pytest.fixture
def person(acme) -> Person:
    """Give alice at her browser."""
    return at_browser(acme, "alice")


def consent(person: Person, given: dict[str, str], **fields: str):
    """Open the page and allow what it offers."""
    assert person.get(page_of(given)).status_code == 200
    return person.post(page_of(given), {"reach-platform": "write", "decision": "allow", **fields})


def code_of(person: Person, given: dict[str, str], **fields: str) -> str:
    return answer_in(consent(person, given, **fields).headers["Location"])["code"]


def test_the_metadata_names_every_endpoint_and_what_is_served(database):
    found = Client().get("/.well-known/oauth-authorization-server").json()
    assert found["issuer"] == "http://127.0.0.1:8000"
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert found["client_id_metadata_document_supported"] is True
    assert found["authorization_response_iss_parameter_supported"] is True
    assert set(found["scopes_supported"]) >= {"mcp:memory", "mcp:memory:read", "mcp:platform"}
    for name in ("token", "registration", "revocation"):
        path = found[f"{name}_endpoint"].removeprefix(found["issuer"])
        assert Client().get(path).status_code == 405


def test_a_person_allows_a_program_and_it_gets_tokens(acme, person):
    client = register()
    given = wish_of(client)
    shown = person.get(page_of(given)).content.decode()
    assert "Editor" in shown
    assert "this computer" in shown
    assert "nobody has checked its name" in shown
    back = consent(person, given)
    assert back.status_code == 302
    assert back.headers["Location"].startswith(CALLBACK + "?")
    answer = answer_in(back.headers["Location"])
    assert (answer["state"], answer["iss"]) == ("a-state", "http://127.0.0.1:8000")
    with recorded() as seen:
        traded = trade(client, answer["code"])
    assert seen.event_types == ["app.connected"]
    assert traded.status_code == 200
    assert traded.headers["Cache-Control"] == "no-store"
    tokens = traded.json()
    assert (tokens["token_type"], tokens["expires_in"], tokens["scope"]) == ("Bearer", 900, "mcp:platform")
    for text in (tokens["access_token"], tokens["refresh_token"], answer["code"]):
        assert text not in str(list(AppToken.objects.using("operator").values()))
        assert text not in str(list(AuthorizationCode.objects.using("operator").values()))


def test_a_person_who_is_not_signed_in_comes_back_to_the_question(acme):
    path = page_of(wish_of(register()))
    answer = Client().get(path)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/sign-in?next=%2Foauth%2Fauthorize")


def test_a_person_who_refuses_sends_the_program_away(person):
    answer = person.post(page_of(wish_of(register())), {"decision": "deny"})
    assert answer_in(answer.headers["Location"]) == {
        "error": "access_denied", "state": "a-state", "iss": "http://127.0.0.1:8000",
    }  # fmt: skip


def test_a_person_may_allow_less_than_was_asked_and_never_more(acme, person):
    client = register()
    code = code_of(person, wish_of(client), **{"reach-platform": "read"})
    assert trade(client, code).json()["scope"] == "mcp:platform:read"
    asked_little = wish_of(client, scope="mcp:platform:read")
    assert (
        person.post(page_of(asked_little), {"reach-platform": "write", "decision": "allow"}).status_code
        == 400
    )
    wish = read_wish(acme.owner, client, CALLBACK, asked_little)
    code = allow(acme.owner, wish, Choice({"platform": "write", "memory": "write"}))
    assert trade(client, code).json()["scope"] == "mcp:platform:read"


@pytest.fixture
def filled(acme):
    """Give alice an account, and the organisation a server; and what nobody but bob has."""
    connect_integration(acme.owner, NewIntegration(kind="gmail", name="work"))
    connect_integration(acme.owner, NewIntegration(kind="teller", name="bank", agent_ids=[acme.agent.id]))
    for actor, name in ((acme.owner, "weather"), (acme.people["bob"], "bobs")):
        url = f"https://{name}.example.com/mcp"
        register_upstream(actor, NewUpstream(name=name, url=url, is_personal=name == "bobs"))
    stdio = {"name": "local", "transport": "stdio", "command": "sh"}
    register_upstream(acme.owner, NewUpstream.model_validate(stdio))


def offered(page: str) -> dict[str, str]:
    """Return what a page offers: each server, and what it begins with."""
    fields = re.findall(r'<select name="reach-([^"]+)".*?</select>', page, re.DOTALL)
    chosen = re.findall(r'<select name="reach-.*?<option value="(\w+)" selected', page, re.DOTALL)
    return dict(zip(fields, chosen, strict=True))


def test_at_the_one_address_accounts_and_servers_of_others_are_nothing_unless_chosen(acme, person, filled):
    everything = resource_url(None)
    client = register()
    for scope in (None, "mcp:*", "mcp:* mcp:*:read mcp:memory mcp:teller mcp:composio:read"):
        page = person.get(page_of(wish_of(client, resource=everything, scope=scope))).content.decode()
        assert offered(page) == {
            "memory": "write", "platform": "write", "gmail": "none", "upstream/weather": "none",
        }  # fmt: skip
    assert "Connected: work." in page
    assert "at weather.example.com. No tool is reviewed yet." in page
    chosen = {"reach-memory": "none", "reach-gmail": "read", "reach-upstream/weather": "write"}
    asked = wish_of(client, resource=everything)
    code = answer_in(
        person.post(page_of(asked), {"decision": "allow", "reach-platform": "none", **chosen}).headers[
            "Location"
        ]
    )["code"]
    tokens = trade(client, code, resource=everything).json()
    assert tokens["scope"] == "mcp:gmail:read mcp:upstream/weather"


def test_a_program_may_ask_for_all_that_can_be_read(person, filled):
    given = wish_of(register(), resource=resource_url(None), scope="mcp:*:read mcp:platform")
    page = person.get(page_of(given)).content.decode()
    assert offered(page) == {
        "memory": "read",
        "platform": "write",
        "gmail": "none",
        "upstream/weather": "none",
    }
    refused = person.post(page_of(given), {"decision": "allow", "reach-memory": "write"})
    assert refused.status_code == 400


def test_one_server_alone_is_offered_as_it_was_asked_for(person, filled):
    for name, key in (("gmail", "gmail"), ("weather", "upstream/weather"), ("teller", "teller")):
        page = person.get(page_of(wish_of(register(), resource=resource_url(name)))).content.decode()
        assert offered(page) == {key: "write"}


def test_servers_that_a_person_may_not_use_cannot_be_asked_for(person, filled, globex):
    register_upstream(globex.owner, NewUpstream(name="theirs", url="https://theirs.example.com/mcp"))
    answers = []
    for name in ("bobs", "theirs", "local", "nowhere", "notify", "chat"):
        answer = person.get(page_of(wish_of(register(), resource=resource_url(name))))
        assert "at least one" not in answer.content.decode()
        answers.append((answer.status_code, "invalid_target" in answer.content.decode()))
    assert answers == [(400, True)] * 6
    everything = resource_url(None)
    for scope in (
        "mcp:upstream/bobs",
        "mcp:upstream/nowhere",
        "mcp:upstream/local",
        "mcp:notify",
        "mcp:weather",
    ):
        answer = person.get(page_of(wish_of(register(), resource=everything, scope=scope)))
        assert (answer.status_code, "invalid_scope" in answer.content.decode()) == (400, True)


def test_a_server_of_another_organisation_of_the_person_is_one_click_away(acme, globex, person):
    add_member(globex.owner, acme.users["alice"], "member")
    register_upstream(globex.owner, NewUpstream(name="theirs", url="https://theirs.example.com/mcp"))
    path = page_of(wish_of(register(), resource=resource_url("theirs")))
    refused = person.get(path)
    assert (refused.status_code, "Use Globex instead" in refused.content.decode()) == (400, True)
    person.post(path, {"decision": "switch", "to": str(globex.organisation.id)})
    assert "<b>theirs</b> of <b>Globex</b>" in person.get(path).content.decode()


def test_consent_without_the_pages_own_token_is_refused(person):
    answer = person.client.post(
        page_of(wish_of(register())), {"decision": "allow", "reach-platform": "write", "org": person.org_id}
    )
    assert answer.status_code == 403
    assert not ConnectedApp.objects.using("operator").exists()


def test_consent_made_for_another_organisation_is_refused(person, globex):
    answer = person.post(
        page_of(wish_of(register())),
        {"decision": "allow", "reach-platform": "write", "org": str(globex.organisation.id)},
    )
    assert answer.status_code == 409
    assert not ConnectedApp.objects.using("operator").exists()


def test_only_a_person_can_allow_anything(acme):
    client = register()
    from services.domain.identity.queries import all_tenants_authenticate

    with pytest.raises(NotPermitted):
        allow(
            all_tenants_authenticate(acme.token),
            read_wish(acme.owner, client, CALLBACK, wish_of(client)),
            Choice({"platform": "write"}),
        )


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "https://evil.example/callback", "http://127.0.0.1:4711/callback/../x", "http://127.0.0.1:4711/callback?x=1",
        "http://127.0.0.1:4711/Callback", "http://127.0.0.1.evil.example:4711/callback", "//evil.example", "", "x",
        "http://evil.example@127.0.0.1:4711/callback", "http://127.0.0.1:4711/callback#x", "javascript:alert(1)",
        "http://127.0.0.1:99999999/callback", "http://localhost:4711/callback", "https://127.0.0.1:4711/callback",
    ],
)  # fmt: skip
def test_nobody_is_sent_to_an_address_that_was_not_registered(person, redirect_uri):
    for answer in (
        person.get(page_of(wish_of(register(), redirect_uri=redirect_uri))),
        person.post(page_of(wish_of(register(), redirect_uri=redirect_uri)), {"decision": "deny"}),
    ):
        assert answer.status_code == 400
        assert "Location" not in answer.headers
        assert not redirect_uri or f'href="{redirect_uri}' not in answer.content.decode()


def test_the_port_of_a_loopback_address_is_free(person):
    given = wish_of(register(), redirect_uri="http://127.0.0.1:50123/callback")
    assert consent(person, given).headers["Location"].startswith("http://127.0.0.1:50123/callback?")


def test_an_unknown_program_sends_nobody_anywhere(person):
    for client_id in ("unknown", "", "x" * 600, "http://127.0.0.1:1/client.json"):
        answer = person.get(page_of(wish_of(register(), client_id=client_id)))
        assert answer.status_code == 400
        assert "Location" not in answer.headers


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"resource": None}, "invalid_target"),
        ({"resource": "https://elsewhere.example/mcp"}, "invalid_target"),
        ({"resource": "http://127.0.0.1:8002/mcp/notify"}, "invalid_target"),
        ({"scope": "mcp:memory"}, "invalid_scope"),
        ({"scope": "tasks:write"}, "invalid_scope"),
        ({"state": "x" * 2_001}, "invalid_request"),
    ],
)
def test_a_wrong_request_is_told_to_the_program_only_by_the_persons_click(person, changes, word):
    answer = person.get(page_of(wish_of(register(), **changes)))
    assert answer.status_code == 400
    assert "Location" not in answer.headers
    assert f"error={word}" in answer.content.decode()


def test_a_parameter_that_is_there_twice_is_refused(person):
    assert person.get(page_of(wish_of(register())) + "&resource=https://a.example/").status_code == 400


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "another-verifier-of-at-least-forty-three-characters"},
        {"code_verifier": CHALLENGE},
        {"code_verifier": ""},
        {"redirect_uri": "http://127.0.0.1:4712/callback"},
        {"resource": "http://127.0.0.1:8002/mcp/memory"},
    ],
)
def test_a_code_with_anything_wrong_beside_it_gives_nothing_and_is_spent(person, changes):
    client = register()
    code = code_of(person, wish_of(client))
    refused = trade(client, code, **changes)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert trade(client, code).json() == refused.json()
    assert trade(client, "swc_unknown").json() == refused.json()


def test_a_code_is_good_once_and_a_second_use_ends_the_family(person):
    client = register()
    code = code_of(person, wish_of(client))
    tokens = trade(client, code).json()
    with recorded() as seen:
        assert trade(client, code).json()["error"] == "invalid_grant"
    assert seen.event_types == ["app.disconnected"]
    assert refresh(client, tokens["refresh_token"]).json()["error"] == "invalid_grant"


def test_a_code_is_good_for_its_own_client_and_for_a_minute(person):
    client = register()
    code = code_of(person, wish_of(client))
    assert trade(register(), code).json()["error"] == "invalid_grant"
    AuthorizationCode.objects.using("operator").update(expires_at=now())
    assert trade(client, code).json()["error"] == "invalid_grant"


def test_a_token_request_names_the_resource(person):
    client = register()
    assert trade(client, code_of(person, wish_of(client)), resource=None).json()["error"] == "invalid_target"


def test_refreshing_rotates_and_a_spent_token_ends_the_family(acme):
    client, issued = authorized(acme.owner)
    second = refresh(client, issued.refresh_token).json()
    third = refresh(client, second["refresh_token"], resource=resource_url("platform")).json()
    assert third["access_token"] != second["access_token"]
    with recorded() as seen:
        assert refresh(client, issued.refresh_token).json()["error"] == "invalid_grant"
    assert [(event.type, event.data["reason"]) for event in seen.events] == [("app.disconnected", "reuse")]
    assert refresh(client, third["refresh_token"]).json()["error"] == "invalid_grant"
    assert not AppToken.objects.using("operator").exists()


def test_refreshing_gives_neither_another_resource_nor_more_scope(acme):
    client, issued = authorized(acme.owner, reach="read")
    for changes, word in (
        ({"resource": resource_url("memory")}, "invalid_target"),
        ({"scope": "mcp:platform"}, "invalid_scope"),
        ({"client_id": register().client_id}, "invalid_grant"),
    ):
        assert refresh(client, issued.refresh_token, **changes).json()["error"] == word
    assert refresh(client, issued.refresh_token).status_code == 200


def test_tokens_die_with_the_membership(acme):
    client, issued = authorized(acme.people["bob"])
    remove_member(acme.owner, acme.users["bob"].pk)
    assert refresh(client, issued.refresh_token).json()["error"] == "invalid_grant"
    assert not AppToken.objects.using("operator").exists()


def test_a_program_gives_its_tokens_back(acme):
    client, issued = authorized(acme.owner)
    fields = {"client_id": client.client_id, "token": issued.access_token}
    stranger = fields | {"client_id": register().client_id}
    assert post_form("/oauth/revoke", stranger).status_code == 200
    assert refresh(client, issued.refresh_token).status_code == 200
    assert post_form("/oauth/revoke", fields).status_code == 200
    assert post_form("/oauth/revoke", fields).status_code == 200
    assert not AppToken.objects.using("operator").exists()


def test_a_client_registers_itself_and_gets_a_secret_only_if_it_wants_one(database):
    def post(**fields):
        return Client().post("/oauth/register", {"redirect_uris": [CALLBACK], **fields}, "application/json")

    public = post(client_name="E\u202editor", token_endpoint_auth_method="none", logo_uri="https://x/")
    assert public.status_code == 201
    assert public.json()["client_name"] == "Editor"
    assert "client_secret" not in public.json()
    confidential = post(token_endpoint_auth_method="client_secret_post").json()
    assert confidential["client_secret"] not in str(list(OAuthClient.objects.using("operator").values()))
    for fields in (
        {"redirect_uris": []},
        {"redirect_uris": ["http://evil.example/"]},
        {"redirect_uris": ["javascript:alert(1)"]},
        {"redirect_uris": ["https://a.example/#x"]},
        {"redirect_uris": "https://a.example/"},
        {"redirect_uris": ["data:text/html,x"]},
        {"redirect_uris": ["https://a.example;sandbox/x"]},
        {"redirect_uris": ["https://*/x"]},
        {"redirect_uris": [CALLBACK] * 11},
    ):
        refused = post(**fields)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_redirect_uri"), fields
    for fields in (
        {"grant_types": ["client_credentials"]},
        {"response_types": ["token"]},
        {"token_endpoint_auth_method": "private_key_jwt"},
        {"client_name": 7},
    ):
        assert post(**fields).json()["error"] == "invalid_client_metadata", fields


def test_registrations_are_limited(database, monkeypatch):
    monkeypatch.setattr("services.api.oauth.views.MAX_REGISTRATIONS", 2)
    answers = [
        Client().post("/oauth/register", {"redirect_uris": [CALLBACK]}, "application/json") for _ in range(3)
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    monkeypatch.setattr("services.domain.oauth.clients.MAX_UNUSED_CLIENTS", 2)
    monkeypatch.setattr("services.api.oauth.views.MAX_REGISTRATIONS", 20)
    full = Client().post("/oauth/register", {"redirect_uris": [CALLBACK]}, "application/json")
    assert full.status_code == 429


def test_what_is_refused_at_the_token_endpoint_is_limited_and_what_is_good_is_not(acme, monkeypatch):
    monkeypatch.setattr("services.api.oauth.views.MAX_REFUSALS", 2)
    client, issued = authorized(acme.owner)
    assert [refresh(client, f"swr_{n}").status_code for n in range(3)] == [400, 400, 429]
    assert refresh(client, issued.refresh_token).status_code == 200


def test_a_confidential_client_shows_its_secret_in_either_way(acme):
    described = Client().post("/oauth/register", {"redirect_uris": [CALLBACK]}, "application/json").json()
    client = OAuthClient.objects.using("operator").get(client_id=described["client_id"])
    basic = base64.b64encode(f"{described['client_id']}:{described['client_secret']}".encode()).decode()
    _, issued = authorized(acme.owner, client=client)
    for wrong in ({}, {"client_secret": "sws_wrong"}):
        refused = refresh(client, issued.refresh_token, **wrong)
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    second = post_form(
        "/oauth/token",
        {"grant_type": "refresh_token", "refresh_token": issued.refresh_token},
        Authorization=f"Basic {basic}",
    )
    assert second.status_code == 200
    third = refresh(client, second.json()["refresh_token"], client_secret=described["client_secret"])
    assert third.status_code == 200


@pytest.mark.parametrize(
    "raw", [b"", b"\xff", b"a=\x00", b"a=%00", b"a&a", b"grant_type=x" * 9_000, b"client_id=%FF"]
)
@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/revoke", "/oauth/register"])
def test_junk_is_a_client_error(database, path, raw):
    for kind in ("application/x-www-form-urlencoded", "application/json", "text/plain"):
        for authorization in ({}, {"Authorization": "Basic %%%"}, {"Authorization": "Basic AA=="}):
            answer = Client().generic("POST", path, raw, content_type=kind, headers=authorization)
            assert 400 <= answer.status_code < 500, (kind, authorization, answer.content)
            assert answer.json()["error"]


def test_pages_of_allowed_origins_may_read_and_no_others(database, monkeypatch):
    path = "/.well-known/oauth-authorization-server"
    assert "Access-Control-Allow-Origin" not in Client().get(path, headers={"Origin": "https://app.example"})
    monkeypatch.setattr(environment(), "gateway_allowed_origins", "https://app.example")
    allowed = Client().options("/oauth/token", headers={"Origin": "https://app.example"})
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://app.example"
    other = Client().options("/oauth/token", headers={"Origin": "https://app.example.evil.example"})
    assert "Access-Control-Allow-Origin" not in other


def test_a_client_of_one_organisation_is_unknown_to_another(acme, globex, person):
    from services.domain.oauth.clients import create_client

    client, secret = create_client(acme.owner, name="Acme's", redirect_uris=[CALLBACK], is_confidential=True)
    mallory = at_browser(globex, "mallory")
    assert mallory.get(page_of(wish_of(client))).status_code == 400
    shown = person.get(page_of(wish_of(client))).content.decode()
    assert "An admin of Acme has registered it." in shown
    code = code_of(person, wish_of(client))
    assert trade(client, code).status_code == 401
    assert trade(client, code, client_secret=secret).status_code == 200


def test_the_sweep_removes_what_is_dead_and_nothing_else(acme):
    client, issued = authorized(acme.owner)
    unused = register("Never used")
    assert all_tenants_sweep_oauth() == 0
    OAuthClient.objects.using("operator").filter(id=unused.id).update(created_at=now() - timedelta(days=2))
    assert all_tenants_sweep_oauth() == 1
    assert refresh(client, issued.refresh_token).status_code == 200
    AppToken.objects.using("operator").update(expires_at=now() - timedelta(days=2))
    ConnectedApp.objects.using("operator").update(created_at=now() - timedelta(days=40))
    AuthorizationCode.objects.using("operator").update(expires_at=now() - timedelta(days=2))
    all_tenants_sweep_oauth()
    assert not ConnectedApp.objects.using("operator").exists()


@pytest.fixture
def document(monkeypatch) -> Iterator[dict[str, Any]]:
    """Serve a client's document on loopback, which the operator allows; `url` is where it is."""
    monkeypatch.setattr(environment(), "upstream_internal_hosts", "127.0.0.1")
    served: dict[str, Any] = {"asked": 0}

    async def answer(request: Request) -> Response:
        served["asked"] += 1
        return served.get("answer") or JSONResponse(served["document"])

    with LocalServer(Starlette(routes=[Route("/client.json", answer)])) as server:
        served["url"] = f"{server.url}/client.json"
        served["document"] = {
            "client_id": served["url"],
            "client_name": "Described",
            "redirect_uris": [CALLBACK],
            "token_endpoint_auth_method": "none",
        }
        yield served


def test_a_client_is_known_by_its_document_which_is_fetched_once_an_hour(person, document):
    given = {**wish_of(register()), "client_id": document["url"]}
    shown = person.get(page_of(given)).content.decode()
    assert "It is described at <b>127.0.0.1</b>." in shown
    back = consent(person, given)
    assert document["asked"] == 1
    client = OAuthClient.objects.using("operator").get(client_id=document["url"])
    assert trade(client, answer_in(back.headers["Location"])["code"]).status_code == 200
    OAuthClient.objects.using("operator").filter(id=client.id).update(checked_at=now() - timedelta(hours=2))
    document["document"]["redirect_uris"] = ["https://elsewhere.example/cb"]
    assert person.get(page_of(given)).status_code == 400
    assert document["asked"] == 2


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": "https://other.example/client.json"}, {"redirect_uris": ["javascript:alert(1)"]},
        {"token_endpoint_auth_method": "client_secret_post"}, {"client_name": "x" * 70_000}, {"redirect_uris": []},
    ],
)  # fmt: skip
def test_a_document_that_is_not_what_it_must_be_makes_no_client(person, document, change):
    document["document"] |= change
    assert person.get(page_of({**wish_of(register()), "client_id": document["url"]})).status_code == 400
    assert not OAuthClient.objects.using("operator").filter(kind="document").exists()


def test_documents_are_fetched_only_for_people_and_never_inside(acme, person, document, monkeypatch):
    given = {**wish_of(register()), "client_id": document["url"]}
    assert Client().get(page_of(given)).status_code == 302
    document["answer"] = RedirectResponse("https://elsewhere.example/client.json")
    assert person.get(page_of(given)).status_code == 400
    asked = document["asked"]
    monkeypatch.setattr(environment(), "upstream_internal_hosts", "")
    for address in (
        document["url"],
        "https://127.0.0.1/c.json",
        "https://169.254.169.254/latest",
        "https://[::1]/c",
    ):
        assert person.get(page_of({**given, "client_id": address})).status_code == 400
    assert document["asked"] == asked


def test_people_disconnect_their_own_programs_and_admins_anybodys(acme, person):
    client, issued = authorized(acme.owner)
    _, bobs = authorized(acme.people["bob"])
    bob = at_browser(acme, "bob")
    own = {app.user_id: app for app in ConnectedApp.objects.using("operator").all()}
    hers, his = own[acme.owner.user_id], own[acme.users["bob"].pk]
    assert bob.post(f"/settings/connected-apps/{hers.id}/disconnect").status_code == 404
    assert str(hers.id) not in bob.get("/settings/connected-apps").content.decode()
    listed = person.get("/settings/connected-apps").content.decode()
    assert str(hers.id) in listed
    assert str(his.id) in listed
    assert person.post(f"/settings/connected-apps/{hers.id}/disconnect").status_code == 302
    assert refresh(client, issued.refresh_token).json()["error"] == "invalid_grant"
    api = Api(acme.tokens["bob"])
    assert [app["id"] for app in api.get("/v1/connected_apps").body["items"]] == [str(his.id)]
    assert api.delete(f"/v1/connected_apps/{his.id}").status == 204
    assert api.delete(f"/v1/connected_apps/{his.id}").status == 404
    assert bobs.access_token not in str(own)


def test_only_an_admin_gives_the_organisation_a_client(acme):
    body = {"name": "Ours", "redirect_uris": ["https://ours.example/cb"], "is_confidential": True}
    assert Api(acme.tokens["bob"]).post("/v1/oauth_clients", body).status == 403
    made = Api(acme.token).post("/v1/oauth_clients", body).body
    assert made["client_secret"].startswith("sws_")
    listed = Api(acme.token).get("/v1/oauth_clients")
    assert made["client_secret"].encode() not in listed.raw
    assert Api(acme.token).delete(f"/v1/oauth_clients/{made['id']}").status == 204
    assert (
        Api(acme.token).post("/v1/oauth_clients", body | {"redirect_uris": ["http://x.example"]}).status
        == 400
    )


def test_the_consent_page_lets_its_form_lead_to_the_program_and_nowhere_else(person):
    answer = person.get(page_of(wish_of(register())))
    assert "form-action 'self' http://127.0.0.1:4711;" in answer.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert "no-store" in answer.headers["Cache-Control"]
    assert_clean(answer.content.decode())
