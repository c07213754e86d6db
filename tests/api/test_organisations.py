"""Organisations, invitations and the audit log over REST."""

from __future__ import annotations

from services.domain.identity.models import User
from tests.api.client import Api
from tests.api.test_identity import PASSWORD, signed_in, with_csrf


def test_an_organisation_is_made_by_a_person_and_chosen_by_name(acme):
    alice = signed_in(acme.users["alice"])
    assert alice.get("/v1/organisations/name-check?slug=initech").body["is_available"]
    made = alice.post("/v1/organisations", {"slug": "initech", "name": "Initech"}, **with_csrf(alice))
    assert (made.status, made.body["role"]) == (201, "owner")
    listed = alice.get("/v1/organisations?org=acme").body["items"]
    assert [(row["slug"], row["role"]) for row in listed] == [("acme", "owner"), ("initech", "owner")]
    assert alice.get("/v1/me", X_Slipway_Org="initech").body["organisation"]["name"] == "Initech"
    again = alice.post(
        "/v1/organisations", {"slug": "initech", "name": "X"}, X_Slipway_Org="acme", **with_csrf(alice)
    )
    assert (again.status, again.code) == (409, "name_taken")
    # A token is of one organisation, and knows of no other.
    assert [row["slug"] for row in Api(acme.token).get("/v1/organisations").body["items"]] == ["acme"]


def test_an_invitation_is_made_shown_once_accepted_and_logged(acme, alice):
    made = alice.post("/v1/invitations", {"role": "viewer"})
    assert made.status == 201
    assert made.body["url"].endswith(f"/join/{made.body['token']}")
    (pending,) = alice.get("/v1/invitations").body["items"]
    assert (pending["id"], pending.keys() & {"token", "url"}) == (made.body["id"], set())
    carol = User.objects.create_user("carol@elsewhere.example", PASSWORD)
    api = signed_in(carol)
    own = api.post("/v1/organisations", {"slug": "carols", "name": "C"}, **with_csrf(api))
    assert own.status == 404  # she is nowhere yet, and the page at the link is for that
    wrong = alice.post("/v1/invitations/accept", {"token": made.body["token"]})
    assert (wrong.status, wrong.code) == (403, "not_permitted")
    assert Api(acme.tokens["bob"]).get("/v1/invitations").code == "role_missing"


def test_a_member_leaves_by_removing_oneself(acme):
    bob = Api(acme.tokens["bob"])
    assert bob.delete(f"/v1/members/{acme.users['bob'].pk}").status == 204
    assert bob.get("/v1/me").code == "token_invalid"


def test_the_audit_log_is_filtered_and_paged_for_admins(acme, alice):
    bob_id = str(acme.users["bob"].pk)
    alice.patch(f"/v1/members/{bob_id}", {"role": "viewer"})
    (newest,) = alice.get("/v1/audit?limit=1", User_Agent="ci/1").body["items"]
    assert (newest["action"], newest["actor"]["name"]) == ("member.role_changed", "alice@acme.example")
    assert newest["subject"] == {
        "kind": "member",
        "id": bob_id,
        "name": "bob@acme.example",
        "user_id": bob_id,
    }
    assert newest["details"] == {"role": "viewer", "role_before": "member"}
    assert newest["address"] == "127.0.0.1"
    assert newest["request_id"]
    everything, cursor = [], ""
    while cursor is not None:
        page = alice.get(f"/v1/audit?limit=2{f'&cursor={cursor}' if cursor else ''}").body
        everything += [row["id"] for row in page["items"]]
        cursor = page["next"]
    assert len(everything) == len(set(everything)) > 4
    made = alice.get("/v1/audit?action=token.created").body["items"]
    assert {row["action"] for row in made} == {"token.created"}
    assert len(alice.get(f"/v1/audit?action=token.created&user_id={bob_id}").body["items"]) == 1
    assert alice.get("/v1/audit?until=2020-01-01T00:00:00Z").body["items"] == []
    assert alice.get("/v1/audit?action=nothing").status == 400
    assert Api(acme.tokens["bob"]).get("/v1/audit").code == "role_missing"
