"""Destinations, accounts, quiet hours and questions over REST."""

from __future__ import annotations

import uuid

import pytest

from services.domain.chats.actions import read_link_config, update_link
from services.domain.chats.health import note_connected
from services.domain.chats.models import Link
from services.domain.contacts.models import AccountCode, Destination, PlatformAccount
from services.domain.tenancy.transaction import tenant_transaction
from tests.api.client import Api

NOBODY = str(uuid.uuid4())


@pytest.fixture
def bob(acme) -> Api:
    return Api(acme.tokens["bob"])


def test_a_destination_is_made_changed_and_removed(alice, world):
    made = alice.post("/v1/destinations", {"name": "ops", "chat_id": world["chat_id"], "description": "Ops"})
    assert made.status == 201
    assert (made.body["name"], made.body["owner_id"] is not None) == ("ops", True)
    path = f"/v1/destinations/{made.body['id']}"
    changed = alice.patch(path, {"name": "ops-2", "agent_ids": [world["agent_id"]]})
    assert (changed.body["name"], changed.body["agent_ids"]) == ("ops-2", [world["agent_id"]])
    assert changed.body["chat_id"] == world["chat_id"]
    assert alice.get(path).body == changed.body
    assert alice.delete(path).status == 204
    assert alice.get(path).code == "destination_not_found"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"name": "here"}, "invalid"),
        ({"name": "Two Words"}, "invalid"),
        ({"name": "neither"}, "config_invalid"),
        ({"name": "both", "chat_id": "chat_id", "person_id": "user_id"}, "config_invalid"),
        ({"name": "x", "chat_id": NOBODY}, "chat_not_found"),
        ({"name": "x", "person_id": NOBODY}, "not_found"),
        ({"name": "x", "chat_id": "chat_id", "agent_ids": [NOBODY]}, "agent_not_found"),
        ({"name": "team", "chat_id": "chat_id"}, "name_taken"),
    ],
)
def test_a_destination_that_cannot_be_is_refused(alice, world, body, code):
    given = {key: world[value] if value in ("chat_id", "user_id") else value for key, value in body.items()}
    assert alice.post("/v1/destinations", given).code == code


def test_shared_destinations_are_for_admins_to_change_and_for_all_to_see(alice, bob, world):
    shared = {"name": "all", "chat_id": world["chat_id"], "is_shared": True}
    assert bob.post("/v1/destinations", shared).status == 403
    made = alice.post("/v1/destinations", shared).body
    assert made["owner_id"] is None
    assert [row["name"] for row in bob.get("/v1/destinations").body["items"]] == ["all"]
    path = f"/v1/destinations/{made['id']}"
    assert bob.patch(path, {"name": "mine"}).code == "role_missing"
    assert bob.delete(path).code == "role_missing"
    assert bob.get(f"/v1/destinations/{world['destination_id']}").status == 404
    assert Destination.objects.using("operator").count() == 2


def test_a_code_is_shown_once_and_kept_as_a_hash(alice, world):
    given = alice.post("/v1/me/accounts/codes", {})
    assert given.status == 201
    row = AccountCode.objects.using("operator").get()
    assert given.body["code"] not in (row.code_hash, str(row.id))
    for _ in range(4):
        alice.post("/v1/me/accounts/codes", {})
    assert alice.post("/v1/me/accounts/codes", {}).status == 429


def test_accounts_are_ones_own(alice, bob, world):
    assert [row["platform"] for row in alice.get("/v1/me/accounts").body["items"]] == ["telegram"]
    assert bob.get("/v1/me/accounts").body["items"] == []
    assert bob.delete(f"/v1/me/accounts/{world['account_id']}").status == 404
    assert alice.delete(f"/v1/me/accounts/{world['account_id']}").status == 204
    assert not PlatformAccount.objects.using("operator").filter(id=world["account_id"]).exists()


def test_quiet_hours_are_kept_and_checked(alice, bob, world):
    assert alice.get("/v1/me/notifications").body == {
        "time_zone": "UTC",
        "quiet_from": None,
        "quiet_to": None,
    }
    hours = {"time_zone": "Asia/Kathmandu", "quiet_from": "22:00:00", "quiet_to": "06:30:00"}
    assert alice.call("PUT", "/v1/me/notifications", hours).body == hours
    assert alice.get("/v1/me/notifications").body == hours
    assert bob.get("/v1/me/notifications").body["time_zone"] == "UTC"
    for wrong in ({"time_zone": "X"}, {"quiet_from": "22:00"}, {"quiet_from": "late", "quiet_to": "06:00"}):
        assert alice.call("PUT", "/v1/me/notifications", wrong).code == "invalid"


def test_a_question_is_answered_once_and_the_same_answer_again_is_fine(alice, bob, world):
    path = f"/v1/questions/{world['question_id']}"
    assert alice.get(path).body["status"] == "pending"
    assert alice.post(f"{path}/answer", {}).code == "invalid"
    assert alice.post(f"{path}/answer", {"option": 0}).code == "invalid"
    first = alice.post(f"{path}/answer", {"text": "Because."})
    assert (first.body["answer"], first.body["answered_via"], first.body["option"]) == (
        "Because.",
        "api",
        None,
    )
    assert alice.post(f"{path}/answer", {"text": "Because."}).body == first.body
    assert bob.post(f"{path}/answer", {"text": "No."}).code == "question_closed"
    listed = bob.get(f"/v1/questions?status=answered&workspace_id={world['workspace_id']}").body["items"]
    assert [row["id"] for row in listed] == [world["question_id"]]


def test_a_code_comes_with_the_addresses_that_send_it(alice, world, acme):
    assert alice.post("/v1/me/accounts/codes", {}).body["addresses"] == []
    with tenant_transaction(acme.organisation.id):
        link = Link.objects.get(id=world["link_id"])
    config = read_link_config(link) | {"bot_name": "acme_bot", "bot_id": "1"}
    update_link(acme.owner, link.id, config=config)
    note_connected(acme.owner, link.id, identity="acme_bot")
    given = alice.post(f"/v1/links/{link.id}/pairing", {})
    assert given.status == 201
    (address,) = given.body["addresses"]
    assert address["url"] == f"https://t.me/acme_bot?start={given.body['code']}"
    assert address["link_id"] == str(link.id)


def test_a_destination_may_be_an_agent(alice, world):
    made = alice.post("/v1/destinations", {"name": "helper", "agent_id": world["agent_id"]})
    assert (made.status, made.body["agent_id"], made.body["chat_id"]) == (201, world["agent_id"], None)
    both = {"name": "x", "agent_id": world["agent_id"], "chat_id": world["chat_id"]}
    assert alice.post("/v1/destinations", both).code == "config_invalid"
