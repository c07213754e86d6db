"""Who calls: tokens, sessions, the hand-over from the realtime service; and members."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.test import Client

from conftest import PASSWORD, make_tenant
from services.api.http.authentication import SESSION_ORG_KEY
from services.domain.identity.actions import add_member
from services.domain.identity.handover import HANDOVER_HEADER, sign_actor
from services.domain.identity.models import Membership, Organisation, User
from services.domain.identity.tickets import redeem_ticket
from services.kit.clock import now
from tests.api.client import Api


def signed_in(user: User) -> Api:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    return Api(client=client)


def with_csrf(api: Api) -> dict[str, str]:
    """Return what a page of ours sends along: the token, whose secret is in the cookie."""
    token = "a" * 32
    api.client.cookies["slipway_csrf"] = token
    return {"X_CSRFToken": token}


def join(user: User, tenant, role: str = "viewer") -> None:
    add_member(tenant.owner, user, role)


def test_the_caller_is_told_who_it_is(alice, acme):
    me = alice.get("/v1/me").body
    assert (me["kind"], me["role"], me["organisation"]["slug"]) == ("token", "owner", "acme")
    assert me["user_id"] == str(acme.users["alice"].pk)
    assert "tasks:write" in me["scopes"]


def test_a_token_is_shown_once_works_and_dies_when_revoked(alice):
    made = alice.post("/v1/tokens", {"name": "ci", "scopes": ["tasks:read", "tokens:read"]})
    assert made.status == 201
    ci = Api(made.body["token"])
    assert ci.get("/v1/tasks").status == 200
    assert made.body["token"].encode() not in alice.get("/v1/tokens").raw
    assert alice.delete(f"/v1/tokens/{made.body['id']}").status == 204
    assert ci.get("/v1/tasks").code == "token_invalid"
    assert alice.delete(f"/v1/tokens/{made.body['id']}").code == "not_found"


def test_a_token_cannot_grant_more_than_it_holds(alice):
    narrow = alice.post("/v1/tokens", {"name": "n", "scopes": ["tokens:write"]}).body["token"]
    refused = Api(narrow).post("/v1/tokens", {"name": "wide", "scopes": ["tasks:write"]})
    assert (refused.status, refused.code) == (403, "not_permitted")


@pytest.mark.parametrize(
    "fields", [{"scopes": ["all"]}, {"expires_at": "2000-01-01T00:00:00Z"}, {"name": ""}]
)
def test_a_token_with_a_bad_field_is_refused(alice, fields):
    assert set(alice.post("/v1/tokens", {"name": "n"} | fields).fields) == set(fields)


def test_a_token_expires(alice, monkeypatch):
    text = alice.post("/v1/tokens", {"name": "n"}).body["token"]
    later = now() + timedelta(days=91)
    monkeypatch.setattr("services.domain.identity.queries.now", lambda: later)
    assert Api(text).get("/v1/me").code == "token_invalid"


def test_a_suspended_organisation_is_nobody(alice, acme):
    Organisation.objects.using("operator").filter(id=acme.organisation.id).update(suspended_at=now())
    assert alice.get("/v1/me").code == "token_invalid"


def test_members_are_listed_and_removed_by_admins_only(alice, acme):
    listed = alice.get("/v1/members").body["items"]
    assert {member["email"]: member["role"] for member in listed} == {
        "alice@acme.example": "owner",
        "bob@acme.example": "member",
    }
    bob = Api(acme.tokens["bob"])
    refused = bob.delete(f"/v1/members/{acme.users['alice'].pk}")
    assert (refused.status, refused.code) == (403, "role_missing")
    assert alice.delete(f"/v1/members/{acme.users['bob'].pk}").status == 204
    assert bob.get("/v1/me").code == "token_invalid"
    refused = alice.delete(f"/v1/members/{acme.users['alice'].pk}")
    assert (refused.status, refused.code) == (403, "last_owner")


def test_a_viewer_changes_nothing(acme):
    viewer = User.objects.create_user("vera@acme.example", PASSWORD)
    join(viewer, acme)
    vera = signed_in(viewer)
    assert vera.get("/v1/agents").status == 200
    refused = vera.post("/v1/agents", {"name": "X"}, **with_csrf(vera))
    assert (refused.status, refused.code) == (403, "scope_missing")


def test_a_session_reads_and_with_the_csrf_token_writes(acme):
    alice = signed_in(acme.users["alice"])
    assert alice.get("/v1/me").body["kind"] == "user"
    order = {"agent_id": str(acme.agent.id), "prompt": "x"}
    for forged in ({}, {"X_CSRFToken": "b" * 32}):
        refused = alice.post("/v1/tasks", order, **forged)
        assert (refused.status, refused.code) == (403, "csrf_failed")
    assert alice.post("/v1/tasks", order, **with_csrf(alice)).status == 202


def test_a_request_of_a_session_from_another_origin_is_refused(acme):
    alice = signed_in(acme.users["alice"])
    headers = with_csrf(alice) | {"Origin": "https://evil.example"}
    assert alice.post("/v1/agents", {"name": "X"}, **headers).code == "csrf_failed"


def test_a_closed_account_is_nobody(acme):
    alice = signed_in(acme.users["alice"])
    User.objects.filter(pk=acme.users["alice"].pk).update(is_active=False)
    assert alice.get("/v1/me").code == "unauthenticated"
    assert Api(acme.token).get("/v1/me").code == "token_invalid"


def test_a_member_of_several_organisations_says_which(acme):
    other = make_tenant("initech", ["ivan"])
    join(acme.users["alice"], other)
    alice = signed_in(acme.users["alice"])
    assert alice.get("/v1/me").status == 400
    assert alice.get("/v1/me", X_Slipway_Org="initech").body["role"] == "viewer"
    assert alice.get("/v1/me?org=acme").body["role"] == "owner"
    refused = alice.get("/v1/me", X_Slipway_Org="globex")
    assert (refused.status, refused.code) == (404, "not_found")
    session = alice.client.session
    session[SESSION_ORG_KEY] = str(other.organisation.id)
    session.save()
    assert alice.get("/v1/me").body["organisation"]["slug"] == "initech"


def test_a_member_of_no_organisation_finds_nothing(acme):
    Membership.objects.using("operator").filter(user=acme.users["bob"]).delete()
    missing = signed_in(acme.users["bob"]).get("/v1/me")
    assert (missing.status, missing.code) == (404, "not_found")


def test_the_realtime_service_hands_an_actor_over(acme):
    signed = sign_actor(acme.people["bob"])
    me = Api().get("/v1/me", **{HANDOVER_HEADER: signed}).body
    assert (me["user_id"], me["role"]) == (str(acme.users["bob"].pk), "member")


@pytest.mark.parametrize("forged", ["x", "x:y:z", "\u00fc"])
def test_a_forged_hand_over_is_refused(acme, forged):
    refused = Api(acme.token).get("/v1/me", **{HANDOVER_HEADER: forged})
    assert (refused.status, refused.code) == (401, "token_invalid")


def test_an_old_hand_over_is_refused(acme, monkeypatch):
    signed = sign_actor(acme.owner)
    moment = now().timestamp() + 31
    monkeypatch.setattr("django.core.signing.time.time", lambda: moment)
    assert Api().get("/v1/me", **{HANDOVER_HEADER: signed}).code == "token_invalid"


def test_a_ticket_is_good_for_its_caller_once(alice, acme):
    made = alice.post("/v1/tickets")
    assert made.status == 201
    assert redeem_ticket(made.body["ticket"]).user_id == acme.users["alice"].pk


def test_a_token_of_somebody_else_is_revoked_by_admins_only(alice, acme):
    bob = Api(acme.tokens["bob"])
    (bobs,) = [
        row for row in alice.get("/v1/tokens").body["items"] if row["user_id"] == str(acme.users["bob"].pk)
    ]
    assert [row["user_id"] for row in bob.get("/v1/tokens").body["items"]] == [str(acme.users["bob"].pk)]
    owners = next(row for row in alice.get("/v1/tokens").body["items"] if row["id"] != bobs["id"])
    assert bob.delete(f"/v1/tokens/{owners['id']}").code == "not_found"
    assert alice.delete(f"/v1/tokens/{bobs['id']}").status == 204
    assert alice.delete(f"/v1/tokens/{uuid.uuid4()}").code == "not_found"


def test_a_person_says_their_name_and_language(alice):
    said = alice.patch("/v1/me", {"display_name": "Alice A", "language": "pt-BR"})
    assert (said.status, said.body["display_name"], said.body["language"]) == (200, "Alice A", "pt-BR")
    assert alice.patch("/v1/me", {"language": ""}).body["display_name"] == "Alice A"
    assert alice.patch("/v1/me", {"language": "not a tag"}).code == "invalid"
    assert alice.patch("/v1/me", {"email": "x@example.com"}).code == "unknown_field"


def test_roles_are_given_by_admins(acme, alice):
    bob = f"/v1/members/{acme.people['bob'].user_id}"
    assert alice.patch(bob, {"role": "admin"}).body["role"] == "admin"
    assert Api(acme.tokens["bob"]).patch(bob, {"role": "owner"}).code == "role_missing"
    assert alice.patch(f"/v1/members/{acme.owner.user_id}", {"role": "viewer"}).code == "last_owner"
