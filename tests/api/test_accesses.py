"""The uses of credentials over REST: each kind lists its own, to those who see it."""

from __future__ import annotations

import pytest

from services.domain.identity.actions import create_token
from services.domain.tasks.models import Task
from services.domain.vault.accesses import Keeper, record_accesses
from tests.api.client import Api
from tests.domain.cast import keep_one_of_each, running, use_of

ROUTES = {
    "secret": "/v1/secrets",
    "account": "/v1/integrations",
    "mcp_server": "/v1/mcp_servers",
    "model_key": "/v1/llm/keys",
}


@pytest.fixture
def bob(acme) -> Api:
    return Api(acme.tokens["bob"])


@pytest.fixture
def kept(acme) -> tuple[Task, dict[str, Keeper]]:
    """Give a task that has used one credential of each kind, first once and then twice."""
    rows = keep_one_of_each(acme)
    task, _ = running(acme)
    for count in (1, 2):
        uses = [use_of(task, row, count=count) for row in rows.values()]
        record_accesses(acme.organisation.id, uses)
    return task, rows


@pytest.mark.parametrize("kind", ROUTES)
def test_uses_are_listed_newest_first_in_pages_to_who_sees_the_credential(alice, bob, mallory, kept, kind):
    task, rows = kept
    one = f"{ROUTES[kind]}/{rows[kind].id}"
    assert [use["count"] for use in alice.get(f"{one}/accesses").body["items"]] == [2, 1]
    page = alice.get(f"{one}/accesses?limit=1").body
    (newest,) = page["items"]
    assert (newest["way"], newest["host"], newest["count"]) == ("upstream", "api.example.com", 2)
    assert newest["version"] == (1 if kind == "secret" else None)
    for name in ("task_id", "agent_id", "workspace_id", "user_id"):
        assert newest[name] == str(getattr(task, name.replace("task_id", "id")))
    (oldest,) = alice.get(f"{one}/accesses?limit=1&cursor={page['next']}").body["items"]
    assert oldest["count"] == 1
    assert alice.get(one).body["last_used_at"] == newest["last_at"]
    # All of them are the organisation's, whose members know of them.
    assert bob.get(f"{one}/accesses").body["items"][0] == newest
    assert mallory.get(f"{one}/accesses").status == 404


@pytest.mark.parametrize("kind", ["account", "mcp_server"])
def test_the_uses_of_a_personal_one_are_its_owners_and_the_admins(alice, bob, acme, kind):
    body = {
        "account": {
            "kind": "calendar", "name": "bobs", "settings": {"url": "https://dav.invalid/", "user": "bob"},
            "credentials": {"password": "hush"},
        },
        "mcp_server": {
            "name": "bobs", "url": "https://mcp.invalid/", "auth": "header", "credential": "hush",
            "is_personal": True,
        },
    }[kind]  # fmt: skip
    made = bob.post(ROUTES[kind], body)
    assert made.status == 201
    path = f"{ROUTES[kind]}/{made.body['id']}/accesses"
    # It was tried when it came.
    (tried,) = bob.get(path).body["items"]
    assert (tried["way"], tried["user_id"], tried["task_id"]) == (
        "check", str(acme.people["bob"].user_id), None,
    )  # fmt: skip
    assert alice.get(path).body["items"] == [tried]
    body["name"] = "alices"
    own = alice.post(ROUTES[kind], body).body["id"]
    assert alice.get(f"{ROUTES[kind]}/{own}/accesses").status == 200
    assert bob.get(f"{ROUTES[kind]}/{own}/accesses").status == 404


@pytest.mark.parametrize("kind", ROUTES)
def test_a_token_needs_the_scope_of_the_kind(acme, kept, kind):
    _, rows = kept
    other = Api(create_token(acme.owner, name="o", scopes=["agents:read"])[1])
    assert other.get(f"{ROUTES[kind]}/{rows[kind].id}/accesses").code == "scope_missing"
