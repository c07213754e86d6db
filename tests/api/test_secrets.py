"""Secrets over REST: whose they are, where they may go, their versions and their uses, and never their values."""

from __future__ import annotations

import pytest

from services.domain.tasks.runner import issue_turn
from tests.api.client import Api
from tests.domain.cast import granted, running

BINDING = {"host": "api.example.com", "path": "/repos/acme/", "methods": ["post", "GET"]}


@pytest.fixture
def bob(acme) -> Api:
    return Api(acme.tokens["bob"])


def brokered(api: Api, **fields: object):
    body = {"name": "TOKEN", "value": "hush-hush-1", "mode": "brokered", "bindings": [BINDING], **fields}
    return api.post("/v1/secrets", body)


def test_a_brokered_secret_shows_where_it_goes_and_not_what_it_is(alice):
    made = brokered(alice, approval="each_use", expires_at="2999-01-01T00:00:00Z", description="For pushes")
    assert made.status == 201
    assert made.body["bindings"] == [
        {
            "host": "api.example.com", "port": 443, "path": "/repos/acme", "methods": ["GET", "POST"],
            "into": "header", "name": "Authorization", "template": "Bearer {value}", "user": "", "always": False,
        }
    ]  # fmt: skip
    assert (made.body["mode"], made.body["approval"], made.body["owner_id"]) == ("brokered", "each_use", None)
    assert b"hush" not in made.raw


def test_versions_are_listed_and_gone_back_to(alice, acme):
    route = f"/v1/secrets/{alice.post('/v1/secrets', {'name': 'KEY', 'value': 'hush-1'}).body['id']}"
    assert alice.call("PUT", f"{route}/value", {"value": "hush-2"}).body["version"] == 2
    listed = alice.get(f"{route}/versions")
    assert [(row["version"], row["is_current"]) for row in listed.body["items"]] == [(2, True), (1, False)]
    assert b"hush" not in listed.raw
    assert alice.post(f"{route}/rollback", {"version": 1}).body["version"] == 1
    assert granted(acme) == {"KEY": "hush-1"}
    assert alice.post(f"{route}/rollback", {"version": 9}).code == "not_found"


def test_uses_are_listed_for_those_who_see_the_secret(alice, bob, acme):
    route = f"/v1/secrets/{alice.post('/v1/secrets', {'name': 'KEY', 'value': 'x', 'is_personal': True}).body['id']}"
    task, runner = running(acme)
    issue_turn(task.org_id, task.id, runner.sandbox_id)
    (access,) = alice.get(f"{route}/accesses").body["items"]
    assert (access["version"], access["way"], access["task_id"]) == (1, "env", str(task.id))
    for path in ("", "/accesses", "/versions"):
        assert bob.get(route + path).code == "not_found"
    assert bob.get("/v1/secrets").body["items"] == []


def test_members_keep_personal_secrets_and_admins_the_organisations(bob, acme):
    assert bob.post("/v1/secrets", {"name": "KEY", "value": "x"}).code == "role_missing"
    made = bob.post("/v1/secrets", {"name": "KEY", "value": "x", "is_personal": True})
    assert made.body["owner_id"] == str(acme.people["bob"].user_id)
    refused = bob.patch(f"/v1/secrets/{made.body['id']}", {"agent_ids": [str(acme.agent.id)]})
    assert (refused.status, refused.code) == (403, "agent_not_owned")


def test_a_new_place_needs_the_value_again(alice):
    route = f"/v1/secrets/{brokered(alice).body['id']}"
    moved = {"bindings": [{"host": "evil.example.com"}]}
    assert set(alice.patch(route, moved).fields) == {"value"}
    assert alice.patch(route, {**moved, "value": "another-value"}).body["version"] == 2


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"bindings": [{"host": "*"}]}, "bindings.0.host"),
        ({"bindings": [{"host": "a.example.com", "name": "Host"}]}, "bindings.0"),
        ({"bindings": []}, "bindings"),
        ({"value": "hush\n-hush-hush"}, "value"),
        ({"approval": "sometimes"}, "approval"),
        ({"expires_at": "2999-01-01T00:00:00"}, "expires_at"),
    ],
)
def test_what_is_not_usable_is_refused_by_field_without_the_value(alice, fields, named):
    refused = brokered(alice, **fields)
    assert (refused.status, set(refused.fields)) == (400, {named})
    assert b"hush" not in refused.raw
