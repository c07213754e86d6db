"""Activities of Teams as messages, changes and presses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.adapters.chat.teams import inbound
from services.adapters.chat.teams.adapter import TeamsAdapter
from services.adapters.chat.teams.tests import payloads
from services.adapters.chat.teams.tests.payloads import APP_ID, BASE, CONFIG, activity, hook, in_channel
from services.domain.errors import HookUnverified, MalformedBody, PlatformAway
from services.domain.ports.chat import ChangeKind, ChatKind, HookReply, InboundMessage, Parsed, Place
from tests.fakes.serving import Fault
from tests.fakes.teams_issuer import TeamsIssuer


def read(body: dict[str, Any]) -> Parsed:
    return inbound.parse(CONFIG, hook(body), BASE)


def message(body: dict[str, Any]) -> InboundMessage:
    (found,) = read(body).messages
    return found


def test_a_direct_message_is_read() -> None:
    found = message(activity(replyToId="1772443700000"))
    assert found.place == Place("emea/a:17I0kl8EkpE1O9PH5")
    assert (found.chat_kind, found.chat_title, found.is_mention) == (ChatKind.DIRECT, "Bob Builder", True)
    assert (found.sender.platform_id, found.sender.display_name) == ("29:1bob", "Bob Builder")
    assert found.sent_at.isoformat() == "2026-03-02T09:30:00.437000+00:00"
    assert (found.message_id, found.reply_to) == ("1772443800123", "1772443700000")


def test_a_mention_in_a_channel_addresses_the_bot_and_is_left_out() -> None:
    found = message(in_channel("<at>Slipway</at>\xa0ask <at>Alice</at> please\n"))
    assert (found.text, found.is_mention) == ("ask @Alice please", True)
    assert found.place == Place("emea/19:general@thread.tacv2", "1772443700000")
    assert (found.chat_kind, found.chat_title) == (ChatKind.CHANNEL, "Acme / General")


def test_a_post_in_a_channel_opens_a_thread() -> None:
    post = in_channel("<at>Slipway</at> hi")
    post["conversation"]["id"] = "19:general@thread.tacv2"
    assert message(post).place == Place("emea/19:general@thread.tacv2", "1772443800123")


def test_a_mention_of_somebody_else_does_not_address_the_bot() -> None:
    other = {"type": "mention", "text": "<at>Alice</at>", "mentioned": {"id": "29:alice", "name": "Alice"}}
    found = message(in_channel("<at>Alice</at> hi", entities=[other]))
    assert (found.text, found.is_mention) == ("@Alice hi", False)


def test_a_group_is_a_group_also_when_its_type_is_not_told() -> None:
    for conversation in (
        {"conversationType": "groupChat", "id": "19:g@thread.v2"},
        {"isGroup": True, "id": "19:g"},
    ):
        assert message(activity(conversation=conversation)).chat_kind is ChatKind.GROUP


def test_another_bot_is_told_from_a_person() -> None:
    found = message(activity(**{"from": {"id": "28:other-bot", "name": "Other"}}))
    assert (found.sender.platform_id, found.sender.is_bot) == ("28:other-bot", True)
    assert not message(activity()).sender.is_bot


def test_files_and_pasted_pictures_are_listed() -> None:
    attached = {
        "contentType": inbound.FILE_TYPE,
        "name": "plan.pdf",
        "content": {"downloadUrl": "https://acme.sharepoint.com/d?x=1", "uniqueId": "1", "fileType": "pdf"},
    }
    pasted = {"contentType": "image/png", "contentUrl": f"{BASE}/emea/v3/attachments/1/views/original"}
    evil = {"contentType": "image/png", "contentUrl": "file:///etc/passwd"}
    found = message(activity(text=None, attachments=[attached, pasted, evil]))
    assert [(file.name, file.content_type) for file in found.files] == [
        ("plan.pdf", "application/octet-stream"),
        ("unnamed", "image/png"),
    ]
    assert found.text == "[file: plan.pdf] [file: unnamed]"


@pytest.mark.parametrize(
    ("kind", "event_type", "change"),
    [
        ("messageUpdate", "editMessage", ChangeKind.EDITED),
        ("messageUpdate", "undeleteMessage", ChangeKind.EDITED),
        ("messageDelete", "softDeleteMessage", ChangeKind.DELETED),
    ],
)
def test_edits_and_deletions_are_changes(kind: str, event_type: str, change: ChangeKind) -> None:
    body = activity(type=kind, text="better", channelData={"eventType": event_type})
    (found,) = read(body).changes
    assert (found.kind, found.message_id) == (change, "1772443800123")
    assert found.text == ("" if change is ChangeKind.DELETED else "better")
    later = read(body | {"timestamp": "2026-03-02T09:31:00Z"}).changes[0]
    assert later.dedupe_key != found.dedupe_key


def test_a_submitted_card_is_a_press() -> None:
    (press,) = read(activity(text=None, value={"slipway": "yes:1"}, replyToId="17724430")).presses
    assert (press.value, press.message_id, press.sender.platform_id) == ("yes:1", "17724430", "29:1bob")
    assert press.place == Place("emea/a:17I0kl8EkpE1O9PH5")


def test_an_executed_action_is_a_press_that_is_answered() -> None:
    action = {"type": "Action.Execute", "verb": "x", "data": {"slipway": "no"}}
    parsed = read(activity(type="invoke", name="adaptiveCard/action", value={"action": action}))
    assert [press.value for press in parsed.presses] == ["no"]
    assert parsed.reply is not None
    assert json.loads(parsed.reply.body)["statusCode"] == 200


def test_another_invoke_is_told_that_nobody_does_it() -> None:
    parsed = read(activity(type="invoke", name="composeExtension/query", value={}))
    assert parsed == Parsed(ignored="unknown_type", reply=HookReply(status=501))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"type": "conversationUpdate", "text": None}, "service_event"),
        ({"text": " \n", "attachments": None}, "no_text"),
        ({"serviceUrl": "https://evil.example/emea/"}, "unknown_place"),
        ({"serviceUrl": f"{BASE}.evil.example/emea/"}, "unknown_place"),
        ({"serviceUrl": f"{BASE}/../v1?x"}, "unknown_place"),
        ({"conversation": {"id": "a/b"}}, "unknown_place"),
        ({"conversation": {"id": "a:" + "x" * 300}}, "unknown_place"),
    ],
)
def test_what_is_no_message_is_ignored_with_its_reason(fields: dict[str, Any], reason: str) -> None:
    assert read(activity(**fields)) == Parsed(ignored=reason)


@pytest.mark.parametrize(
    "fields", [{"id": None}, {"id": "9" * 200}, {"timestamp": "soon"}, {"from": {"id": ""}}, {"text": 1}]
)
def test_what_cannot_be_an_activity_is_malformed(fields: dict[str, Any]) -> None:
    with pytest.raises(MalformedBody):
        read(activity(**fields))


def test_a_long_conversation_id_has_a_short_key() -> None:
    found = message(activity(conversation={"conversationType": "personal", "id": "a:" + "x" * 240}))
    assert len(found.dedupe_key) <= 200


# --- Whose token it is -----------------------------------------------------------------------------------


def adapter_of(issuer: TeamsIssuer) -> TeamsAdapter:
    return TeamsAdapter(BASE, issuer.settings())


def signed(issuer: TeamsIssuer, **options: Any) -> str:
    return issuer.keys.sign(issuer.claims(APP_ID, f"{BASE}/emea/", payloads.NOW.timestamp()), **options)


def test_keys_are_fetched_once_for_many_calls() -> None:
    with TeamsIssuer() as issuer:
        adapter = adapter_of(issuer)
        for _ in range(5):
            adapter.verify(CONFIG, hook(activity(), token=signed(issuer)))
        assert [call["what"] for call in issuer.calls.all()] == ["metadata", "keys"]


def test_a_new_key_is_looked_for_and_invented_ones_cost_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.adapters.chat.bearer._ASK_AGAIN_S", 0.0)
    with TeamsIssuer() as issuer:
        adapter = adapter_of(issuer)
        adapter.verify(CONFIG, hook(activity(), token=signed(issuer)))
        issuer.keys.rotate(forget_old=True)
        adapter.verify(CONFIG, hook(activity(), token=signed(issuer)))
        assert len(issuer.calls.all()) == 4
        monkeypatch.setattr("services.adapters.chat.bearer._ASK_AGAIN_S", 3_600.0)
        for number in range(20):
            with pytest.raises(HookUnverified):
                adapter.verify(CONFIG, hook(activity(), token=signed(issuer, key_id=f"invented-{number}")))
        assert len(issuer.calls.all()) == 4


def test_an_issuer_that_is_away_leaves_the_known_keys_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.adapters.chat.bearer._ASK_AGAIN_S", 0.0)
    with TeamsIssuer() as issuer:
        adapter = adapter_of(issuer)
        token = signed(issuer)
        issuer.faults.plan(Fault("error", method="metadata"))
        with pytest.raises(PlatformAway):
            adapter.verify(CONFIG, hook(activity(), token=token))
        adapter.verify(CONFIG, hook(activity(), token=token))
        issuer.faults.plan(Fault("error", count=2, method="metadata"))
        with pytest.raises(HookUnverified):
            adapter.verify(CONFIG, hook(activity(), token=signed(issuer, key_id="invented")))
        adapter.verify(CONFIG, hook(activity(), token=token))


def test_a_key_that_is_not_vouched_for_teams_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with TeamsIssuer() as issuer:
        monkeypatch.setattr(inbound, "CHANNEL", "somewhere-else")
        with pytest.raises(HookUnverified):
            adapter_of(issuer).verify(CONFIG, hook(activity(), token=signed(issuer)))


def test_a_token_is_good_for_five_minutes_more_than_it_says() -> None:
    moment = payloads.NOW.timestamp()
    adapter = adapter_of(payloads.issuer())
    adapter.verify(CONFIG, hook(activity(), claims={"exp": moment - 299, "nbf": moment + 299}))
