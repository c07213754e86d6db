"""Who is let in, to what, and for how long."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta

import httpx
import pytest
import redis
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from pydantic import SecretStr
from websockets.exceptions import ConnectionClosed, InvalidStatus

from conftest import make_tenant
from services.domain.actors import Actor, system_actor
from services.domain.agents.actions import update_agent
from services.domain.errors import Temporary, TokenInvalid
from services.domain.identity import tickets
from services.domain.identity.actions import (
    add_member,
    change_role,
    create_token,
    remove_member,
    revoke_token,
)
from services.domain.identity.handover import sign_actor, unsign_actor
from services.domain.identity.models import ApiToken
from services.domain.identity.queries import all_tenants_authenticate
from services.domain.identity.tickets import issue_ticket, redeem_ticket
from services.domain.vault.actions import create_secret
from services.domain.vault.fields import NewSecret
from services.domain.workspaces.actions import delete_workspace
from services.kit.clock import now
from services.kit.environment import environment
from services.realtime.node import Pace
from tests.realtime.conftest import Stream

QUICK = Pace(recheck_every_s=0.1)


def sign_in(user) -> SessionStore:
    """Make the session that the api service makes when a person signs in."""
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return session


def browser(session: SessionStore, origin: str | None = None) -> dict[str, str]:
    """Return the headers that a page's WebSocket sends."""
    return {
        "Cookie": f"theme=dark; {settings.SESSION_COOKIE_NAME}={session.session_key}",
        "Origin": origin or environment().public_url,
    }


def refusal(service, **arguments) -> tuple[int, str]:
    """Return the status and code with which a handshake is refused."""
    with pytest.raises(InvalidStatus) as refused, service.client(**arguments):
        pass
    response = refused.value.response
    return response.status_code, json.loads(bytes(response.body))["error"]["code"]


def close_code(client) -> int:
    """Return the code with which the server closes, and check that it said why."""
    frames = []
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            frames.append(client.receive())
    assert frames[-1]["op"] == "error"
    return closed.value.rcvd.code


def test_nobody_gets_in_without_a_credential_or_with_a_wrong_one(service, acme):
    assert refusal(service) == (401, "unauthenticated")
    assert refusal(service, token="sw_wrong") == (401, "token_invalid")
    assert refusal(service, token=acme.token + "x") == (401, "token_invalid")
    assert refusal(service, headers={"Authorization": "Basic YTpi"}) == (401, "token_invalid")
    assert refusal(service, query="?ticket=swk_wrong") == (401, "token_invalid")
    assert refusal(service, query="?ticket=a&ticket=b") == (400, "invalid")
    cookie = f"{settings.SESSION_COOKIE_NAME}={'a' * 32}"
    headers = {"Cookie": cookie, "Origin": environment().public_url}
    assert refusal(service, headers=headers) == (401, "unauthenticated")


def test_a_token_in_the_address_is_refused_although_it_is_good(service, acme):
    assert refusal(service, query=f"?token={acme.token}") == (400, "invalid")
    assert refusal(service, query=f"?ticket={acme.token}") == (400, "invalid")


def test_another_tenants_stream_does_not_exist_on_any_transport(service, acme, globex, stream):
    stream.add(3)
    bearer = {"Authorization": f"Bearer {globex.token}"}
    foreign = [stream.name, f"org:{acme.organisation.id}", f"user:{acme.users['alice'].pk}"]
    with service.client(globex.token) as mallory, httpx.Client(base_url=service.http, headers=bearer) as http:
        for name in foreign:
            assert mallory.subscribe(name)["code"] == "not_found"
            answer = http.get("/v1/events", params={"stream": name})
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
            answer = http.post("/realtime/register", json={"streams": [name]})
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        stream.add(1)
        assert mallory.ask(op="ping")["op"] == "pong"
    assert not service.node.hub._feeds


def test_a_member_follows_their_own_and_the_organisations_stream(service, acme):
    bob = acme.users["bob"].pk
    with service.client(acme.tokens["bob"]) as client:
        assert client.subscribe(f"user:{bob}")["op"] == "ok"
        assert client.subscribe(f"org:{acme.organisation.id}")["op"] == "ok"
        assert client.subscribe(f"user:{acme.users['alice'].pk}")["code"] == "not_found"


def test_a_token_without_the_scope_may_not_follow_a_workspace(service, acme, stream):
    _, token = create_token(acme.owner, name="narrow", scopes=["tasks:read"])
    with service.client(token) as client:
        assert client.subscribe(stream.name)["code"] == "scope_missing"


def test_a_revoked_token_closes_its_connections_with_4001(start, acme, stream):
    service = start(QUICK)
    row, token = create_token(acme.owner, name="short-lived")
    with service.client(token) as client, service.client(acme.token) as other:
        client.subscribe(stream.name)
        other.subscribe(stream.name)
        revoke_token(acme.owner, row.id)
        assert close_code(client) == 4001
        stream.add(1)
        assert other.numbers(1) == [1]


def test_an_expired_token_closes_its_connections(start, acme):
    service = start(QUICK)
    row, token = create_token(acme.owner, name="short-lived")
    with service.client(token) as client:
        ApiToken.objects.using("operator").filter(id=row.id).update(expires_at=now() - timedelta(seconds=1))
        assert close_code(client) == 4001


def test_a_removed_member_is_cut_off_whatever_they_came_in_with(start, acme):
    service = start(QUICK)
    session = sign_in(acme.users["bob"])
    ticket = issue_ticket(acme.people["bob"])
    with (
        service.client(acme.tokens["bob"]) as by_token,
        service.client(headers=browser(session)) as by_cookie,
        service.client(query=f"?ticket={ticket}") as by_ticket,
    ):
        remove_member(acme.owner, acme.users["bob"].pk)
        assert [close_code(client) for client in (by_token, by_cookie, by_ticket)] == [4001] * 3


def test_a_session_lets_in_a_page_of_ours_and_of_nobody_else(service, acme, stream):
    session = sign_in(acme.users["alice"])
    stream.add(1)
    with service.client(headers=browser(session)) as client:
        client.subscribe(stream.name)
        assert client.numbers(1) == [1]
    for origin in (
        "http://evil.example",
        "http://127.0.0.1:8000.evil.example",
        "null",
        "https://127.0.0.1:8000",
    ):
        assert refusal(service, headers=browser(session, origin)) == (403, "origin_refused")
    without = {"Cookie": browser(session)["Cookie"]}
    assert refusal(service, headers=without) == (403, "origin_refused")
    answer = httpx.get(
        f"{service.http}/v1/events",
        params={"stream": stream.name},
        headers=browser(session, "http://evil.example"),
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_refused")
    answer = httpx.post(f"{service.http}/realtime/register", json={"streams": [stream.name]}, headers=without)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_refused")


def test_signing_out_or_changing_the_password_ends_the_sessions_connections(start, acme):
    service = start(QUICK)
    alice = acme.users["alice"]
    session = sign_in(alice)
    with service.client(headers=browser(session)) as client:
        session.delete()
        assert close_code(client) == 4001
    session = sign_in(alice)
    with service.client(headers=browser(session)) as client:
        alice.set_password("another long pass phrase")
        alice.save()
        assert close_code(client) == 4001


def test_a_person_of_two_organisations_says_which(service, acme, globex):
    alice = acme.users["alice"]
    add_member(globex.owner, alice, "member")
    session = sign_in(alice)
    ours, theirs = Stream(acme), Stream(globex)
    assert refusal(service, headers=browser(session)) == (400, "organisation_unclear")
    assert refusal(service, headers=browser(session), query="?org=nobody") == (404, "not_found")
    with service.client(headers=browser(session), query="?org=globex") as client:
        assert client.subscribe(theirs.name)["op"] == "ok"
        assert client.subscribe(ours.name)["code"] == "not_found"
    session["org_id"] = str(acme.organisation.id)
    session.save()
    with service.client(headers=browser(session)) as client:
        assert client.subscribe(ours.name)["op"] == "ok"


def test_the_stream_of_a_person_shows_one_organisation_nothing_of_another(service, acme, globex):
    alice = acme.users["alice"]
    add_member(globex.owner, alice, "member")
    elsewhere = Actor(org_id=globex.organisation.id, kind="user", user_id=alice.pk)
    mine = Stream(acme)
    mine.name = f"user:{alice.pk}"
    _, token = create_token(elsewhere, name="globex")
    with service.client(token) as client, service.client(acme.token) as own:
        assert client.subscribe(mine.name)["op"] == "ok"
        assert own.subscribe(mine.name)["op"] == "ok"
        mine.add(2)
        assert own.numbers(2) == [1, 2]
        assert client.ask(op="ping")["op"] == "pong"
        assert client.cursor == 0


def test_a_ticket_is_good_once(service, acme, stream):
    ticket = issue_ticket(acme.owner)
    stream.add(1)
    with service.client(query=f"?ticket={ticket}") as client:
        client.subscribe(stream.name)
        assert client.numbers(1) == [1]
    assert refusal(service, query=f"?ticket={ticket}") == (401, "token_invalid")


def test_a_ticket_is_stored_hashed_and_expires(acme):
    ticket = issue_ticket(acme.owner)
    client = tickets.client()
    [key] = client.keys("slipway:ticket:*")
    assert ticket.encode() not in key
    assert ticket.encode() not in client.get(key)
    assert 0 < client.pttl(key) <= 30_000


def test_a_ticket_carries_the_tokens_scopes_of_the_moment_it_is_used(acme):
    _, token = create_token(acme.owner, name="narrow", scopes=["tasks:read"])
    actor = all_tenants_authenticate(token)
    assert redeem_ticket(issue_ticket(actor)) == actor
    ticket = issue_ticket(actor)
    revoke_token(acme.owner, actor.token_id)
    with pytest.raises(TokenInvalid):
        redeem_ticket(ticket)


def test_without_redis_tickets_are_temporarily_away(acme, monkeypatch):
    with redis.Redis(port=1, socket_connect_timeout=1, retry=None) as nowhere:
        monkeypatch.setattr(tickets, "client", lambda: nowhere)
        with pytest.raises(Temporary):
            issue_ticket(acme.owner)
        with pytest.raises(Temporary):
            redeem_ticket("swk_anything")


def test_an_actor_is_handed_over_signed_and_only_for_a_while(acme, monkeypatch):
    signed = sign_actor(acme.owner)
    assert unsign_actor(signed) == acme.owner
    bobs = sign_actor(acme.people["bob"]).partition(":")[0] + ":" + signed.partition(":")[2]
    for forged in ("", "x", signed[:-1], signed.replace(":", "", 1), bobs):
        with pytest.raises(TokenInvalid):
            unsign_actor(forged)
    monkeypatch.setattr("django.core.signing.time.time", lambda: now().timestamp() + 31)
    with pytest.raises(TokenInvalid):
        unsign_actor(signed)


def test_a_removed_member_cannot_be_handed_over(acme):
    signed = sign_actor(acme.people["bob"])
    remove_member(acme.owner, acme.users["bob"].pk)
    with pytest.raises(TokenInvalid):
        unsign_actor(signed)


def test_only_people_are_handed_over(acme):
    agent = Actor(org_id=acme.organisation.id, kind="agent", user_id=acme.owner.user_id, task_id=uuid.uuid4())
    for actor in (agent, system_actor(acme.organisation.id)):
        with pytest.raises(ValueError, match="people"):
            sign_actor(actor)


def test_a_suspended_organisation_is_cut_off(start, database):
    tenant = make_tenant("initech", ["peter"])
    service = start(QUICK)
    with service.client(tenant.token) as client:
        tenant.organisation.suspended_at = now()
        tenant.organisation.save(using="operator")
        assert close_code(client) == 4001


def test_a_changed_role_ends_the_connection_to_come_back_with_the_new_rights(service, acme):
    with service.client(acme.tokens["bob"]) as client:
        client.subscribe(f"org:{acme.organisation.id}")
        change_role(acme.owner, acme.users["bob"].pk, "admin")
        assert close_code(client) == 4002


def test_losing_access_is_noticed_at_once_and_not_at_the_next_look(service, acme):
    row, token = create_token(acme.owner, name="short-lived")
    with service.client(token) as client:
        assert client.ask(op="ping")["op"] == "pong"
        revoke_token(acme.owner, row.id)
        assert close_code(client) == 4001


def test_the_stream_of_a_deleted_workspace_ends_on_each_transport(start, acme, stream):
    service = start()
    bearer = {"Authorization": f"Bearer {acme.token}"}
    with service.client(acme.token) as client, httpx.Client(base_url=service.http, headers=bearer) as http:
        client.subscribe(stream.name)
        queue = http.post("/realtime/register", json={"streams": [stream.name]}).json()["queue_id"]
        with http.stream("GET", "/v1/events", params={"stream": stream.name}) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("retry")
            delete_workspace(acme.owner, stream.workspace_id)
            told = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
        assert told == [{"op": "ended", "stream": stream.name, "code": "access_ended"}]
        assert client.receive() == told[0]
        assert client.ask(op="ping")["op"] == "pong"
        gone = http.get("/realtime/events", params={"queue_id": queue, "last_event_id": 0})
        assert gone.json()["error"]["code"] == "bad_event_queue_id"
        assert client.subscribe(stream.name)["code"] == "not_found"


def test_an_event_that_is_not_for_somebody_is_its_number_and_no_more_on_each_transport(service, acme):
    org, bob = f"org:{acme.organisation.id}", acme.tokens["bob"]
    bearer = {"Authorization": f"Bearer {bob}"}
    with service.client(bob) as early, service.client(acme.token) as alice:
        head = early.subscribe(org, None)["head"]
        alice.subscribe(org, head)
        early.numbers(head)
        mine = NewSecret(name="MINE", value=SecretStr("hush"), is_personal=True)
        row = create_secret(acme.owner, mine)
        shown = alice.receive()
        assert (shown["type"], shown["data"]["secret_id"]) == ("secret.changed", str(row.id))
        hidden = early.receive()
        assert hidden == {
            "stream": org, "seq": head + 1, "at": shown["at"], "type": "event.hidden", "task_id": None,
            "turn": None, "data": {},
        }  # fmt: skip
        with service.client(bob) as late:
            late.subscribe(org, head)
            assert late.receive() == hidden
    with httpx.Client(base_url=service.http, headers=bearer) as http:
        queue = http.post("/realtime/register", json={"streams": [org], "after": {org: head}})
        query = {"queue_id": queue.json()["queue_id"], "last_event_id": 0}
        assert http.get("/realtime/events", params=query).json()["events"] == [{"id": 1, "event": hidden}]
        with http.stream("GET", "/v1/events", params={"stream": org, "after": head}) as answer:
            data = next(line for line in answer.iter_lines() if line.startswith("data: "))
        assert json.loads(data[6:]) == hidden


def test_what_was_said_of_an_agent_is_hidden_once_it_is_not_shared_any_more(service, acme):
    org = f"org:{acme.organisation.id}"
    with service.client(acme.tokens["bob"]) as client:
        head = client.subscribe(org, None)["head"]
        before = [client.receive() for _ in range(head)]
        assert any(frame["data"].get("agent_id") == str(acme.agent.id) for frame in before)
        update_agent(acme.owner, acme.agent.id, {"is_shared": False, "description": "for alice alone"})
        gone, still = client.receive(), client.receive()
        assert (gone["type"], gone["data"]["change"]) == ("agent.changed", "deleted")
        assert "alone" not in json.dumps(gone)
        assert still["type"] == "event.hidden"
        with service.client(acme.tokens["bob"]) as late:
            late.subscribe(org, 0)
            frames = [late.receive() for _ in range(head + 2)]
    named = [frame for frame in frames if frame["data"].get("agent_id") == str(acme.agent.id)]
    assert named == [gone]
