"""What is the same for every operation: versions of objects, requests that count once, limits that are told."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from services.api.http import rates
from services.api.v1.routes import ROUTES
from services.domain.agents import actions as agent_actions
from services.domain.agents.actions import update_agent
from services.domain.agents.models import Agent, AgentPerson
from services.domain.idempotency import keeping
from services.domain.idempotency.keeping import all_tenants_forget_answers
from services.domain.idempotency.models import KeptAnswer
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.environment import environment
from tests.api.client import Api
from tests.api.test_tenants import _ID, BODIES, OPERATIONS, call, with_ids


def agents_of(acme) -> int:
    with tenant_transaction(acme.organisation.id):
        return Agent.objects.count()


# --- Versions of objects -----------------------------------------------------------------------------


def test_a_change_of_the_version_that_was_read_is_made_and_of_an_older_one_is_not(alice, acme):
    route = f"/v1/agents/{acme.agent.id}"
    read = alice.get(route).headers["ETag"]
    changed = alice.patch(route, {"instructions": "Be brief."}, If_Match=read)
    assert (changed.status, changed.body["instructions"]) == (200, "Be brief.")
    assert changed.headers["ETag"] == alice.get(route).headers["ETag"] != read
    refused = alice.patch(route, {"instructions": "Be long."}, If_Match=read)
    assert (refused.status, refused.code) == (412, "precondition_failed")
    assert refused.body["error"]["details"]["etag"] == changed.headers["ETag"]
    assert alice.get(route).body["instructions"] == "Be brief."
    assert alice.delete(route, If_Match=read).status == 412
    assert alice.delete(route, If_Match=changed.headers["ETag"]).status == 204


def test_a_writer_between_the_look_and_the_change_loses_nothing(alice, acme, monkeypatch):
    """Somebody else changes the agent, and commits, after our request has compared the versions."""
    route = f"/v1/agents/{acme.agent.id}"
    read = alice.get(route).headers["ETag"]
    lock_own_agent, others = agent_actions.lock_own_agent, []

    def interrupted(actor, agent_id):
        if not others:
            others.append(threading.get_ident())
            with ThreadPoolExecutor(1) as pool:
                pool.submit(somebody_else).result(30)
        return lock_own_agent(actor, agent_id)

    def somebody_else():
        update_agent(acme.owner, acme.agent.id, {"description": "theirs"})
        connections.close_all()

    monkeypatch.setattr(agent_actions, "lock_own_agent", interrupted)
    refused = alice.patch(route, {"description": "ours"}, If_Match=read)
    assert (refused.status, refused.code) == (412, "precondition_failed")
    assert alice.get(route).body["description"] == "theirs"


def test_who_has_a_version_is_not_sent_it_again(alice, acme):
    route = f"/v1/agents/{acme.agent.id}"
    etag = alice.get(route).headers["ETag"]
    same = alice.get(route, If_None_Match=etag)
    assert (same.status, same.raw, same.headers["ETag"]) == (304, b"", etag)
    alice.patch(route, {"description": "new"})
    assert alice.get(route, If_None_Match=etag).status == 200


def test_every_object_has_a_version_that_its_changes_check(acme, world, alice):
    """Each path with an object: what is shown has an ETag, and no change of another version is made."""
    # They are addressed by a parameter, or are no object that is shown.
    without = {
        "workspaces/<uuid:workspace_id>/files", "workspaces/<uuid:workspace_id>/files/content",
        "secrets/<uuid:secret_id>/value", "rooms/<uuid:room_id>/reactions", "me/sessions/<uuid:session_id>",
        "organisation", "organisation/deletion", "invitations/<uuid:invitation_id>", "llm/logs", "budgets",
    }  # fmt: skip
    with tenant_transaction(acme.organisation.id):
        person = AgentPerson.objects.create(
            org_id=acme.organisation.id, agent=acme.agent, user=acme.users["bob"], role="member"
        )
    assert str(person.user_id) == world["user_id"]
    for route, endpoint in ROUTES:
        changes = [(method, route) for method in ("patch", "put", "delete") if hasattr(endpoint, method)]
        if route in without or not changes:
            continue
        assert endpoint.version_shown_by() is not None, route
        for method, _ in changes:
            path = "/v1/" + path_of(route, world)
            shown = alice.get(path)
            assert shown.headers["ETag"], route
            body = with_ids(BODIES.get((method, route)), world)
            refused = alice.call(method.upper(), path, body, headers={"If-Match": '"other"'})
            assert (refused.status, refused.code) == (412, "precondition_failed"), (method, route)
            assert alice.get(path).headers["ETag"] == shown.headers["ETag"], (method, route)


def path_of(route: str, world) -> str:
    return _ID.sub(lambda found: world[found[1]], route)


def test_a_version_where_there_is_none_is_refused_and_not_ignored(world, alice):
    refused = alice.delete("/v1/llm/logs", If_Match='"x"')
    assert (refused.status, refused.fields) == (400, {"If-Match": "not here"})


# --- Requests that count once ------------------------------------------------------------------------


def test_a_request_that_comes_again_with_its_key_gives_the_first_answer(alice, acme):
    before, body = agents_of(acme), {"name": "Once"}
    first = alice.post("/v1/agents", body, Idempotency_Key="k1")
    again = alice.post("/v1/agents", body, Idempotency_Key="k1")
    assert (first.status, again.status) == (201, 201)
    assert again.raw == first.raw
    assert (first.headers.get("Idempotent-Replayed"), again.headers["Idempotent-Replayed"]) == (None, "true")
    assert agents_of(acme) == before + 1


def test_the_key_with_another_request_is_refused(alice):
    assert alice.post("/v1/agents", {"name": "One"}, Idempotency_Key="k").status == 201
    for path, body in (("/v1/agents", {"name": "Two"}), ("/v1/rooms", {"title": "One"})):
        refused = alice.post(path, body, Idempotency_Key="k")
        assert (refused.status, refused.code) == (422, "idempotency_key_reused")


def test_the_same_key_of_somebody_else_is_another_key(alice, acme):
    assert alice.post("/v1/agents", {"name": "Hers"}, Idempotency_Key="k").status == 201
    assert Api(acme.tokens["bob"]).post("/v1/agents", {"name": "His"}, Idempotency_Key="k").status == 201


def test_a_refused_request_may_be_tried_again_with_its_key(alice):
    taken = alice.post("/v1/agents", {"name": "Shell"}, Idempotency_Key="k")
    assert taken.code == "name_taken"
    assert alice.post("/v1/agents", {"name": "Other"}, Idempotency_Key="k").status == 201


def test_two_requests_with_one_key_at_once_do_it_once(acme, monkeypatch):
    inside, go_on = threading.Event(), threading.Event()
    touch = agent_actions.order_image

    def slow(agent):
        inside.set()
        assert go_on.wait(30)
        touch(agent)

    monkeypatch.setattr(agent_actions, "order_image", slow)

    def create():
        try:
            return Api(acme.token).post("/v1/agents", {"name": "Once"}, Idempotency_Key="k")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(create)
        assert inside.wait(30)
        second = Api(acme.token).post("/v1/agents", {"name": "Once"}, Idempotency_Key="k")
        go_on.set()
        assert first.result(30).status == 201
    assert (second.status, second.code) == (409, "idempotency_key_in_use")
    assert second.headers["Retry-After"] == "1"
    assert create().headers["Idempotent-Replayed"] == "true"


def test_a_request_that_asks_somebody_outside_counts_once_too(world, alice):
    route = f"/v1/mcp_servers/{world['server_id']}/refresh"
    first = alice.post(route, Idempotency_Key="k")
    again = alice.post(route, Idempotency_Key="k")
    assert (first.status, again.raw) == (200, first.raw)
    assert again.headers["Idempotent-Replayed"] == "true"


def test_an_announced_request_of_a_process_that_died_may_be_made_again_after_a_while(
    alice, acme, world, monkeypatch
):
    route = f"/v1/mcp_servers/{world['server_id']}/refresh"
    with monkeypatch.context() as dying:
        dying.setattr("services.api.http.idempotency.keep_answer", lambda *_: None)
        assert alice.post(route, Idempotency_Key="k").status == 200
    assert alice.post(route, Idempotency_Key="k").code == "idempotency_key_in_use"
    monkeypatch.setattr(keeping, "ABANDONED", keeping.ABANDONED * 0)
    assert alice.post(route, Idempotency_Key="k").status == 200


def test_every_post_of_the_api_counts_once(world, alice):
    """Each POST that succeeds gives its own answer again, byte for byte, instead of a second effect."""
    counted = 0
    for method, route in OPERATIONS:
        if method != "post":
            continue
        key = str(uuid.uuid4())
        api = with_key(alice, key)
        first, again = call(api, method, route, world), call(api, method, route, world)
        assert first.status == again.status, (route, first.body, again.body)
        if first.status < 300:
            counted += 1
            assert first.raw == again.raw, route
    assert counted > 30


def with_key(api: Api, key: str) -> Api:
    keyed = Api(api.token)
    keyed._auth = {**keyed._auth, "Idempotency-Key": key}
    return keyed


def test_an_answer_that_names_a_secret_is_not_kept_in_the_open(alice, acme):
    made = alice.post("/v1/tokens", {"name": "n"}, Idempotency_Key="k").body
    with tenant_transaction(acme.organisation.id):
        kept = KeptAnswer.objects.get()
    assert made["token"].encode() not in bytes(kept.sealed)
    assert alice.post("/v1/tokens", {"name": "n"}, Idempotency_Key="k").body["token"] == made["token"]


def test_answers_are_forgotten_after_a_day(alice, acme, monkeypatch):
    alice.post("/v1/agents", {"name": "Once"}, Idempotency_Key="k")
    assert all_tenants_forget_answers() == 0
    monkeypatch.setattr(keeping, "KEPT", keeping.KEPT * 0)
    assert all_tenants_forget_answers() == 1


# --- Limits that are told ----------------------------------------------------------------------------


def test_every_answer_tells_what_is_left_of_both_limits(alice, acme):
    env = environment()
    policy = f'"token";q={env.api_token_burst};w=20, "organisation";q={env.api_org_burst};w=20'
    for path in ("/v1/agents", "/v1/agents/" + str(uuid.uuid4()), "/v1/tasks?limit=0"):
        answer = alice.get(path)
        assert answer.headers["RateLimit-Policy"] == policy
        assert '"token";r=' in answer.headers["RateLimit"]


@pytest.mark.parametrize("limit", ["token", "organisation"])
def test_who_asks_too_often_waits_and_nobody_else_does(acme, globex, monkeypatch, limit):
    name = "org" if limit == "organisation" else "token"
    monkeypatch.setattr(environment(), f"api_{name}_burst", 3)
    monkeypatch.setattr(environment(), f"api_{name}_per_s", 0.001)
    alice, bob = Api(acme.token), Api(acme.tokens["bob"])
    assert [alice.get("/v1/me").status for _ in range(3)] == [200] * 3
    refused = alice.get("/v1/me")
    assert (refused.status, refused.code) == (429, "rate_limited")
    assert refused.body["error"]["details"]["limit"] == limit
    assert 900 < int(refused.headers["Retry-After"]) <= 1000
    assert f'"{limit}";r=0;' in refused.headers["RateLimit"]
    assert bob.get("/v1/me").status == (429 if limit == "organisation" else 200)
    assert Api(globex.token).get("/v1/me").status == 200


def test_without_redis_nobody_is_refused(alice, monkeypatch):
    import redis

    def away():
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(rates, "_script", away)
    monkeypatch.setattr(rates._Pause, "until", 0.0)
    answer = alice.get("/v1/me")
    assert (answer.status, "RateLimit" in answer.headers) == (200, False)
    assert answer.headers["RateLimit-Policy"]
    monkeypatch.setattr(rates._Pause, "until", 0.0)
