"""Sign-in by device code: what a program is told at each moment, and who may let it in."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from conftest import Tenant
from services.api.oauth.device import CLI_CLIENT_ID, DEVICE_GRANT
from services.domain.identity import devices
from services.domain.identity.actions import remove_member
from services.kit.redisbus import client as redis_client
from tests.api.client import Api
from tests.dashboard.conftest import Person, assert_clean, at_browser
from tests.fakes.oauth_client import post_form


@pytest.fixture
def bob(acme: Tenant) -> Person:
    """Give bob at his browser."""
    return at_browser(acme, "bob")


def begin(**fields: str) -> dict[str, Any]:
    answer = post_form("/oauth/device_authorization", {"client_id": CLI_CLIENT_ID, **fields})
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def poll(asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Ask whether one was let in, as if the interval were over."""
    for key in redis_client().keys("slipway:device:*:polled"):
        redis_client().delete(key)
    return poll_at_once(asked)


def poll_at_once(asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    form = {"client_id": CLI_CLIENT_ID, "grant_type": DEVICE_GRANT, "device_code": asked["device_code"]}
    answer = post_form("/oauth/token", form)
    return answer.status_code, answer.json()


def allow(person: Person, asked: dict[str, Any], **fields: Any) -> Any:
    return person.post(
        "/activate", {"code": asked["user_code"], "reach": "all", "decision": "allow", **fields}
    )


def test_a_program_is_let_in_once_with_what_was_chosen(bob: Person, acme: Tenant):
    found = Client().get("/.well-known/oauth-authorization-server").json()
    assert DEVICE_GRANT in found["grant_types_supported"]
    assert found["device_authorization_endpoint"].endswith("/oauth/device_authorization")
    asked = begin(client_name="a terminal", scope="tasks:read tasks:write agents:read")
    assert (poll(asked)[0], poll(asked)[1]["error"]) == (400, "authorization_pending")
    assert poll_at_once(asked)[1]["error"] == "slow_down"
    page = bob.get(f"/activate?code={asked['user_code'].lower()}")
    html = page.content.decode()
    assert_clean(html)
    assert "a terminal" in html
    assert "Nobody has checked its name" in html
    fields = {"reach": "chosen", "scopes": ["tasks:read", "agents:read"]}
    assert allow(bob, asked, **fields).status_code == 302
    status, made = poll(asked)
    assert (status, made["scope"]) == (200, "agents:read tasks:read")
    assert poll(asked)[1]["error"] == "expired_token"
    api = Api(made["access_token"])
    me = api.get("/v1/me").body
    assert (me["user_id"], me["scopes"]) == (str(acme.users["bob"].pk), ["agents:read", "tasks:read"])
    assert api.post("/v1/tasks", {"agent_id": str(acme.agent.id), "prompt": "x"}).code == "scope_missing"


def test_nothing_in_redis_signs_anybody_in(acme: Tenant):
    asked = begin()
    kept = b"".join(
        key + b"".join(redis_client().hgetall(key)) if redis_client().type(key) == b"hash" else key
        for key in redis_client().keys("slipway:device*")
    )
    assert asked["device_code"].encode() not in kept
    assert asked["user_code"].replace("-", "").encode() not in kept


def test_who_says_no_is_believed_and_a_code_decides_once(bob: Person):
    asked = begin()
    bob.post("/activate", {"code": asked["user_code"], "decision": "deny"})
    assert allow(bob, asked).status_code == 404
    assert poll(asked)[1]["error"] == "access_denied"


def test_more_than_was_asked_for_is_not_given(bob: Person):
    asked = begin(scope="tasks:read")
    answer = allow(bob, asked, reach="chosen", scopes=["tasks:write"])
    assert answer.status_code == 400
    refused = post_form("/oauth/device_authorization", {"client_id": CLI_CLIENT_ID, "scope": "everything"})
    assert refused.json()["error"] == "invalid_scope"
    assert post_form("/oauth/device_authorization", {"client_id": "else"}).status_code == 401


def test_who_has_left_meanwhile_lets_nobody_in(bob: Person, acme: Tenant):
    asked = begin()
    assert allow(bob, asked).status_code == 302
    remove_member(acme.owner, acme.users["bob"].pk)
    assert poll(asked)[1]["error"] == "access_denied"


def test_guessing_codes_and_asking_too_often_is_refused(bob: Person, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("services.api.dashboard.views.devices.MAX_CODES", 2)
    monkeypatch.setattr("services.api.oauth.device.MAX_BEGUN", 1)
    assert bob.get("/activate").status_code == 200
    assert bob.get("/activate?code=BBBB-BBBB").status_code == 404
    assert bob.get("/activate?code=BBBB-BBBC").status_code == 404
    assert bob.get("/activate?code=BBBB-BBBD").status_code == 429
    begin()
    limited = post_form("/oauth/device_authorization", {"client_id": CLI_CLIENT_ID})
    assert limited.status_code == 429
    assert int(limited.headers["Retry-After"]) > 0


def test_each_poll_that_is_too_early_makes_the_interval_longer(acme: Tenant):
    asked = begin()
    poll(asked)
    poll_at_once(asked)
    key = next(key for key in redis_client().keys("slipway:device:*") if not key.endswith(b":polled"))
    assert int(redis_client().hget(key, "slower_s") or 0) == 5
    assert redis_client().ttl(key) <= devices.DEVICE_LIFE.total_seconds()
