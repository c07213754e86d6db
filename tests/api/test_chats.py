"""Links, chats, wirings and deliveries over REST, with a local Bot API server behind them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from conftest import recorded
from services.adapters.chat.registry import build_adapters
from services.api import linking
from services.domain.chat_commands.catalogue import list_hints
from services.domain.chats.actions import read_link_config
from services.domain.chats.inbound import all_tenants_find_link, store_inbound
from services.domain.chats.listening import all_tenants_take_link, keep_heard, note_listener_stopped
from services.domain.chats.models import InboundMessage as Heard
from services.domain.chats.models import Link
from services.domain.errors import RoleMissing
from services.domain.ports.chat import ChatKind, InboundMessage, Parsed, Place, Sender
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from tests.api.client import Api
from tests.api.conftest import BOT_TOKEN
from tests.fakes.chat_places import drain
from tests.fakes.serving import Fault
from tests.fakes.slack_server import FakeSlack
from tests.fakes.telegram_server import FakeTelegram

NOBODY = str(uuid.uuid4())
BOT = {"kind": "telegram", "name": "Our bot", "config": {"bot_token": BOT_TOKEN}}


@pytest.fixture
def telegram(monkeypatch) -> Iterator[FakeTelegram]:
    """Run a Bot API server and send the adapter there."""
    with FakeTelegram(bots={BOT_TOKEN: "our_bot"}) as server:
        there = build_adapters({"TELEGRAM_API_BASE": server.url})
        monkeypatch.setattr(linking, "adapters", lambda: there)
        yield server


def stored_config(acme, link_id: str) -> dict[str, object]:
    with tenant_transaction(acme.organisation.id):
        return read_link_config(Link.objects.get(id=link_id))


def test_a_link_is_kept_sealed_connected_and_removed(alice, acme, telegram):
    made = alice.post("/v1/links", BOT | {"default_agent_id": str(acme.agent.id)})
    assert (made.status, made.body["status"]) == (201, "pending")
    route = f"/v1/links/{made.body['id']}"
    connected = alice.post(f"{route}/connect")
    assert (connected.status, connected.body["status"], connected.body["platform_identity"]) == (
        200, "connected", "our_bot",
    )  # fmt: skip
    assert connected.body["hook_url"].endswith(f"/hooks/telegram/{made.body['id']}")
    assert stored_config(acme, made.body["id"])["bot_name"] == "our_bot"
    (listed,) = telegram.extras.commands.values()
    assert [one["command"] for one in listed] == [hint.name for hint in list_hints()]
    for answer in (made, connected, alice.get(route), alice.get("/v1/links")):
        assert BOT_TOKEN.encode() not in answer.raw
    assert alice.get("/v1/links?kind=slack").body["items"] == []
    assert alice.delete(route).status == 204
    assert alice.get(route).code == "link_not_found"


def test_a_link_says_who_listens_to_it_and_never_where_it_resumes(alice, acme, world):
    route = f"/v1/links/{world['link_id']}"
    assert alice.get(route).body["listener"] is None
    with tenant_transaction(acme.organisation.id):
        link = Link.objects.get(id=world["link_id"])
        Link.objects.filter(id=link.id).update(status="connected")
    lease = all_tenants_take_link(link, "host:1")
    keep_heard(lease, Parsed(), {"session": "where-it-resumes"})
    heard = alice.get(route)
    assert heard.body["listener"]["status"] == "listening"
    assert heard.body["listener"]["last_seen_at"]
    note_listener_stopped(lease, error="The token is revoked.", needs_person=True)
    failed = alice.get(route)
    assert (failed.body["listener"]["status"], failed.body["status"]) == ("failed", "failed")
    assert failed.body["listener"]["last_error"] == failed.body["last_error"] == "The token is revoked."
    for answer in (heard, failed, alice.get("/v1/links")):
        assert b"where-it-resumes" not in answer.raw
        assert b"host:1" not in answer.raw


def test_a_link_says_how_it_has_fared(alice, acme, telegram):
    made = alice.post("/v1/links", BOT)
    route = f"/v1/links/{made.body['id']}"
    assert made.body["reached_at"] is None
    telegram.faults.plan(Fault("forbid"))
    assert alice.post(f"{route}/connect").status == 502
    assert alice.post(f"{route}/connect").body["reached_at"]
    newest, oldest = alice.get(f"{route}/health").body["items"]
    assert (newest["status"], newest["reason"]) == ("connected", "")
    assert oldest["status"] == "failed"
    assert oldest["reason"]


def test_a_direct_chat_is_begun_where_the_platform_lets_a_bot_do_that(alice, acme, monkeypatch):
    with FakeSlack() as slack:
        there = build_adapters({"SLACK_API_BASE": slack.api_base})
        monkeypatch.setattr(linking, "adapters", lambda: there)
        config = {"bot_token": "xoxb-of-acme", "signing_secret": "a-secret-of-slack"}
        route = f"/v1/links/{alice.post('/v1/links', {'kind': 'slack', 'name': 'S', 'config': config}).body['id']}"
        assert alice.post(f"{route}/chats", {"person_id": "U0002BOB"}).code == "conflict"
        assert alice.post(f"{route}/connect").status == 200
        begun = [alice.post(f"{route}/chats", {"person_id": "U0002BOB"}) for _ in range(2)]
        assert [one.status for one in begun] == [201, 201]
        assert begun[0].body == begun[1].body
        chat = begun[0].body
        assert (chat["platform_chat_id"], chat["kind"], chat["title"]) == ("D0123ABCD", "direct", "U0002BOB")
        assert alice.post(f"{route}/chats", {"person_id": "U0009NONE"}).code == "platform_refused"
        with pytest.raises(RoleMissing):
            linking.begin_chat(acme.people["bob"], uuid.UUID(chat["link_id"]), "U0002BOB")


def test_a_link_that_its_platform_refuses_says_so(alice, acme, telegram):
    made = alice.post("/v1/links", BOT | {"config": {"bot_token": "999:not-a-bot-of-this-server"}}).body
    refused = alice.post(f"/v1/links/{made['id']}/connect")
    assert (refused.status, refused.code) == (502, "platform_refused")
    shown = alice.get(f"/v1/links/{made['id']}").body
    assert shown["status"] == "failed"
    assert shown["last_error"]


def test_a_link_is_changed(alice, acme):
    made = alice.post("/v1/links", BOT).body
    route = f"/v1/links/{made['id']}"
    assert alice.patch(route, {"name": "Renamed"}).body["name"] == "Renamed"
    assert alice.patch(route, {"default_agent_id": str(acme.agent.id)}).body["default_agent_id"] == str(
        acme.agent.id
    )
    assert alice.patch(route, {"config": {"bot_token": "1:other"}}).body["name"] == "Renamed"
    assert stored_config(acme, made["id"]) == {"bot_token": "1:other"}
    assert alice.patch(route, {"config": {}}).code == "config_invalid"
    assert alice.patch(route, {"default_agent_id": NOBODY}).code == "agent_not_found"


@pytest.mark.parametrize(
    ("fields", "code", "named"),
    [
        ({"kind": "pigeon"}, "invalid", "kind"),
        ({"config": {}}, "config_invalid", "config.bot_token"),
        ({"config": {"bot_token": "very secret"}}, "config_invalid", "config.bot_token"),
        ({"config": {"bot_token": BOT_TOKEN, "extra": 1}}, "config_invalid", "config.extra"),
    ],
)
def test_a_link_with_an_unusable_configuration_is_refused(alice, fields, code, named):
    refused = alice.post("/v1/links", BOT | fields)
    assert (refused.status, refused.code, set(refused.fields)) == (400, code, {named})
    assert b"very secret" not in refused.raw


def test_chats_are_listed_and_shown(alice, world):
    (chat,) = alice.get(f"/v1/chats?link_id={world['link_id']}").body["items"]
    assert (chat["id"], chat["platform_chat_id"], chat["kind"]) == (world["chat_id"], "501", "direct")
    assert alice.get(f"/v1/chats/{world['chat_id']}").body == chat
    assert alice.get(f"/v1/chats/{NOBODY}").code == "chat_not_found"


def test_a_wiring_is_made_changed_and_removed(alice, world):
    other = alice.post("/v1/agents", {"name": "Other"}).body["id"]
    fields = {"chat_id": world["chat_id"], "agent_id": other, "engage": "pattern", "pattern": "^deploy "}
    made = alice.post("/v1/wirings", fields)
    assert made.status == 201
    assert alice.post("/v1/wirings", fields).code == "name_taken"
    route = f"/v1/wirings/{made.body['id']}"
    changed = alice.patch(route, {"session_mode": "per-thread"}).body
    assert (changed["session_mode"], changed["pattern"]) == ("per-thread", "^deploy ")
    assert alice.get(route).body == changed
    assert [row["id"] for row in alice.get(f"/v1/wirings?agent_id={other}").body["items"]] == [
        made.body["id"]
    ]
    assert alice.patch(route, {"agent_id": world["agent_id"]}).code == "unknown_field"
    assert alice.delete(route).status == 204
    assert alice.delete(route).code == "not_found"


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"engage": "pattern", "pattern": "("}, "pattern_invalid", "pattern"),
        ({"engage": "pattern", "pattern": ""}, "pattern_invalid", "pattern"),
        ({"engage": "pattern", "pattern": "((a{100}){100}){100}"}, "pattern_too_costly", "pattern"),
        ({"engage": "command"}, "config_invalid", "command"),
        ({"command": "Not A Word"}, "invalid", "command"),
        ({"sender_scope": "people", "people": [NOBODY]}, "config_invalid", "people"),
        ({"time_zone": "Mars/Olympus"}, "invalid", "time_zone"),
        ({"bot_turns": 99}, "invalid", "bot_turns"),
    ],
)
def test_a_wiring_that_would_not_work_is_refused(alice, world, changes, code, field):
    refused = alice.patch(f"/v1/wirings/{world['wiring_id']}", changes)
    assert (refused.status, refused.code, set(refused.fields)) == (400, code, {field})


def test_a_wiring_has_all_its_rules(alice, acme, world):
    rules = {
        "engage": "command",
        "command": "deploy",
        "sender_scope": "people",
        "people": [str(acme.owner.user_id)],
        "unanswered": "drop",
        "priority": 7,
        "is_exclusive": True,
        "bot_turns": 3,
        "time_zone": "Europe/Berlin",
        "quiet_from": "22:00:00",
        "quiet_to": "07:00:00",
    }
    route = f"/v1/wirings/{world['wiring_id']}"
    changed = alice.patch(route, rules).body
    assert {name: changed[name] for name in rules} == rules
    assert alice.get(route).body == changed


def heard(acme, world, text: str, key: str, *, is_mention: bool = True) -> str:
    """Take a message in and route it; returns its id."""
    handle = all_tenants_find_link(uuid.UUID(world["link_id"]), "telegram")
    message = InboundMessage(
        key, Place("501"), ChatKind.DIRECT, "Bob", Sender("900", "Eve"), text, is_mention, key, now()
    )
    store_inbound(handle, [message])
    drain("message.route")
    return str(Heard.objects.using("operator").get(dedupe_key=key).id)


def test_why_a_message_was_answered_or_not_is_read_back(alice, acme, world):
    alice.patch(f"/v1/links/{world['link_id']}", {"unknown_senders": "public"})
    alice.patch(f"/v1/wirings/{world['wiring_id']}", {"engage": "mention"})
    quiet = heard(acme, world, "among us", "k1", is_mention=False)
    asked = heard(acme, world, "what is it?", "k2")
    route = f"/v1/chats/{world['chat_id']}/decisions"
    first, second = alice.get(f"{route}?limit=2").body["items"]
    assert (first["id"], second["id"]) == (asked, quiet)
    assert first["writer"] == {
        "standing": "unknown",
        "becomes": "heard",
        "reason": "public",
        "why": "this bot answers anybody",
    }
    (verdict,) = second["wirings"]
    assert (verdict["agent_id"], verdict["reason"], verdict["becomes"], verdict["why"]) == (
        world["agent_id"], "not_mentioned", "context", "it was not spoken to",
    )  # fmt: skip
    assert second["outcome"] == "context: not_mentioned"
    assert first["wirings"][0]["task_id"] == first["outcome"].removeprefix("task: ")
    assert [row["id"] for row in alice.get(f"{route}?became=context").body["items"]] == [quiet]
    assert [row["id"] for row in alice.get(f"{route}?platform_message_id=k2").body["items"]] == [asked]
    assert alice.get(f"{route}?became=pending").body["items"] == []
    judged = alice.get(f"{route}?agent_id={world['agent_id']}&sender_id=900").body["items"]
    assert [row["id"] for row in judged] == [asked, quiet]
    assert alice.get(f"{route}?agent_id={NOBODY}").body["items"] == []
    assert alice.get(f"/v1/decisions/{asked}").body == first
    assert alice.get(f"/v1/decisions/{NOBODY}").code == "message_not_found"
    assert alice.get(f"/v1/chats/{NOBODY}/decisions").code == "chat_not_found"


def test_an_admin_chooses_which_agent_answers_in_a_new_chat(alice, acme, world):
    alice.patch(f"/v1/links/{world['link_id']}", {"unknown_senders": "public"})
    alice.delete(f"/v1/wirings/{world['wiring_id']}")
    message_id = heard(acme, world, "is anybody there?", "k1")
    assert alice.get(f"/v1/decisions/{message_id}").body["outcome"].startswith("held: unknown_chat ")
    (approval,) = alice.get("/v1/approvals?kind=new_chat").body["items"]
    assert {"value": world["agent_id"], "label": acme.agent.name} in approval["choices"]
    route = f"/v1/approvals/{approval['id']}/decide"
    assert alice.post(route, {"decision": "allow"}).code == "invalid"
    assert alice.post(route, {"decision": "allow", "choice": NOBODY}).code == "agent_not_found"
    decided = alice.post(route, {"decision": "allow", "choice": world["agent_id"]}).body
    assert (decided["status"], decided["choice"]) == ("allowed", world["agent_id"])
    drain("message.route")
    assert alice.get(f"/v1/decisions/{message_id}").body["outcome"].startswith("task: ")


def test_a_failed_delivery_is_sent_again_once_asked(alice, world):
    (delivery,) = alice.get("/v1/deliveries?status=failed").body["items"]
    with recorded() as seen:
        again = alice.post(f"/v1/deliveries/{delivery['id']}/retry")
    assert (again.status, again.body["status"], seen.job_types) == (200, "queued", ["delivery.send"])
    refused = alice.post(f"/v1/deliveries/{delivery['id']}/retry")
    assert (refused.status, refused.code) == (409, "conflict")


def test_the_custody_of_a_delivery_says_what_every_attempt_came_to(alice, world):
    (delivery,) = alice.get("/v1/deliveries?status=failed").body["items"]
    shown = alice.get(f"/v1/deliveries/{delivery['id']}").body
    assert {name: shown[name] for name in delivery} == delivery
    assert [(one["outcome"], one["note"]) for one in shown["custody"]] == [("refused", "blocked")]
    assert shown["custody"][0]["finished_at"]
    assert alice.get(f"/v1/deliveries/{NOBODY}").code == "delivery_not_found"


def test_a_link_says_what_becomes_of_unknown_senders(alice, acme):
    made = alice.post("/v1/links", BOT).body
    assert made["unknown_senders"] == "request_approval"
    route = f"/v1/links/{made['id']}"
    assert alice.patch(route, {"unknown_senders": "strict"}).body["unknown_senders"] == "strict"
    assert alice.patch(route, {"name": "Renamed"}).body["unknown_senders"] == "strict"
    assert alice.patch(route, {"unknown_senders": "anybody"}).code == "invalid"
    assert alice.post("/v1/links", BOT | {"unknown_senders": "public"}).body["unknown_senders"] == "public"
    bob = Api(acme.tokens["bob"])
    assert bob.patch(route, {"unknown_senders": "public"}).code == "role_missing"
    assert bob.post("/v1/links", BOT | {"unknown_senders": "public"}).code == "role_missing"


def test_the_senders_of_a_link_are_seen_decided_and_forgotten(alice, acme, world):
    list_route = f"/v1/links/{world['link_id']}/senders"
    (shown,) = alice.get(list_route).body["items"]
    route = f"{list_route}/{shown['id']}"
    assert (shown["platform_user_id"], shown["standing"], shown["waiting_messages"]) == ("777", "unknown", 0)
    assert alice.get(route).body == shown
    bob = Api(acme.tokens["bob"])
    assert bob.get(list_route).body["items"] == [shown]
    assert bob.patch(route, {"standing": "allowed"}).code == "role_missing"
    assert bob.delete(route).code == "role_missing"
    changed = alice.patch(route, {"standing": "allowed"}).body
    assert (changed["standing"], changed["decided_by_id"]) == ("allowed", str(acme.owner.user_id))
    assert alice.patch(route, {"standing": "unknown"}).code == "invalid"
    other = alice.post("/v1/links", BOT).body["id"]
    assert alice.get(f"/v1/links/{other}/senders/{shown['id']}").code == "not_found"
    assert alice.get(f"/v1/links/{NOBODY}/senders").code == "link_not_found"
    assert alice.delete(route).status == 204
    assert alice.get(route).code == "not_found"


def test_a_stranger_waits_until_somebody_allows_them_over_rest(alice, acme, world):
    alice.patch(f"/v1/links/{world['link_id']}", {"default_agent_id": world["agent_id"]})
    handle = all_tenants_find_link(uuid.UUID(world["link_id"]), "telegram")
    message = InboundMessage(
        "1:900:1", Place("900"), ChatKind.DIRECT, "Eve", Sender("900", "Eve"), "let me in", True, "1", now()
    )
    store_inbound(handle, [message])
    drain("message.route")
    (asked,) = alice.get("/v1/approvals?kind=unknown_sender").body["items"]
    assert (asked["workspace_id"], asked["decider_role"]) == (None, "admin")
    assert asked["title"] == "Eve (900) in Eve: let me in"
    bob = Api(acme.tokens["bob"])
    decision = {"decision": "allow", "scope": "always"}
    assert bob.post(f"/v1/approvals/{asked['id']}/decide", decision).code == "role_missing"
    senders = alice.get(f"/v1/links/{world['link_id']}/senders").body["items"]
    assert [row["waiting_messages"] for row in senders if row["platform_user_id"] == "900"] == [1]
    assert alice.post(f"/v1/approvals/{asked['id']}/decide", decision).body["status"] == "allowed"
    drain("message.route")
    assert "let me in" in [row["prompt"] for row in alice.get("/v1/tasks").body["items"]]
