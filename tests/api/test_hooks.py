"""Webhooks: what strangers call."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import uuid
from typing import Any
from urllib.parse import urlencode

import pytest

from conftest import recorded
from services.api.linking import checked_config
from services.domain.chats.actions import create_link
from services.domain.chats.models import InboundMessage, Link
from tests.api.client import Api
from tests.api.conftest import HOOK_SECRET, SIGNING_SECRET

NOBODY = str(uuid.uuid4())
STRANGER = Api()


def telegram_update(number: int = 7, text: str = "hello") -> dict[str, Any]:
    bob = {"id": 501, "is_bot": False, "first_name": "Bob"}
    chat = {"id": 501, "first_name": "Bob", "type": "private"}
    message = {"message_id": number, "from": bob, "chat": chat, "date": 1772443800, "text": text}
    return {"update_id": 600 + number, "message": message}


def to_telegram(world, body: Any, secret: str | None = HOOK_SECRET):
    headers = {} if secret is None else {"X_Telegram_Bot_Api_Secret_Token": secret}
    return STRANGER.hook(f"/hooks/telegram/{world['link_id']}", body, **headers)


def messages() -> int:
    return InboundMessage.objects.using("operator").count()


def test_an_update_is_kept_once_and_routed_once(world):
    before = messages()
    with recorded() as seen:
        answers = [to_telegram(world, telegram_update()).status for _ in range(3)]
    assert answers == [200, 200, 200]
    assert messages() == before + 1
    assert seen.job_types == ["message.route"]


@pytest.mark.parametrize("secret", [None, "", "wrong", "\u00fc"])
def test_an_unverified_update_is_401_and_leaves_nothing(world, secret):
    before = messages()
    refused = to_telegram(world, telegram_update(), secret)
    assert (refused.status, refused.code) == (401, "hook_unverified")
    assert messages() == before


def test_an_update_for_an_unknown_link_is_404(world):
    for path in (
        f"telegram/{NOBODY}",
        f"slack/{world['link_id']}",
        f"pigeon/{world['link_id']}",
        "telegram/x",
        "%00/x",
    ):
        assert STRANGER.hook(f"/hooks/{path}", telegram_update()).status == 404


def test_an_unknown_update_is_taken_and_counted(world):
    for body in ({"update_id": 1, "new_kind": {}}, {"update_id": "text", "message": 5}):
        assert to_telegram(world, body).status == 200
    assert Link.objects.using("operator").get(id=world["link_id"]).unknown_updates == 2


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b"[" * 50_000, b"null"])
def test_a_body_that_is_no_update_at_all_is_refused(world, raw):
    refused = to_telegram(world, raw)
    assert (refused.status, refused.code) == (400, "malformed_body")


def test_an_update_of_more_than_a_megabyte_is_413(world):
    refused = to_telegram(world, telegram_update(text="x" * 1_048_576))
    assert (refused.status, refused.code) == (413, "body_too_large")


def test_a_hook_is_posted_to_and_looked_at_only_by_who_shows_the_secret(world):
    path = f"/hooks/telegram/{world['link_id']}"
    for method in ("PUT", "DELETE"):
        assert STRANGER.hook(path, None, method=method).status == 405
    assert STRANGER.hook(path, None, method="GET").code == "hook_unverified"


def test_whatsapps_challenge_is_answered_only_with_the_verify_token(acme):
    config = {
        "phone_number_id": "106540352242922", "access_token": "EAAJB0123456789abcdefghij",
        "app_secret": "an-app-secret", "verify_token": "one-of-our-own",
    }  # fmt: skip
    kept = checked_config("whatsapp", config)
    link = create_link(acme.owner, kind="whatsapp", name="WhatsApp", config=kept)
    query = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": "one-of-our-own"}
    path = f"/hooks/whatsapp/{link.id}"
    assert STRANGER.hook(f"{path}?{urlencode(query)}", b"", method="GET").raw == b"1158201444"
    wrong = urlencode(query | {"hub.verify_token": "another"})
    assert STRANGER.hook(f"{path}?{wrong}", b"", method="GET").code == "hook_unverified"
    assert STRANGER.hook(path, b"{}", X_Hub_Signature_256="sha256=0").code == "hook_unverified"


def test_junk_with_the_right_secret_is_never_a_500(world):
    junk: list[Any] = [None, True, -1, 10**30, "", "x\x00y", "\ud800", [], [[]], {}, {"id": "x"}, "y" * 5_000]
    for value in junk:
        for field in ("update_id", "message", "edited_message", "callback_query"):
            assert to_telegram(world, telegram_update() | {field: value}).status in (200, 400)
        for number, field in enumerate(
            ("message_id", "from", "chat", "date", "text", "entities", "message_thread_id")
        ):
            update = telegram_update(1_000 + number)
            update["message"][field] = value
            assert to_telegram(world, update).status in (200, 400)


@pytest.fixture
def slack_link(acme) -> str:
    config = checked_config("slack", {"bot_token": "xoxb-1-abc", "signing_secret": SIGNING_SECRET})
    return str(create_link(acme.owner, kind="slack", name="Slack", config=config).id)


def to_slack(link_id: str, body: dict[str, Any], *, at: float | None = None, secret: str = SIGNING_SECRET):
    raw = json.dumps(body).encode()
    moment = str(int(at if at is not None else time.time()))
    digest = hmac.new(secret.encode(), f"v0:{moment}:".encode() + raw, hashlib.sha256).hexdigest()
    headers = {"X_Slack_Request_Timestamp": moment, "X_Slack_Signature": f"v0={digest}"}
    return STRANGER.hook(f"/hooks/slack/{link_id}", raw, **headers)


def test_slacks_challenge_is_answered_only_when_signed(slack_link):
    challenge = {"type": "url_verification", "challenge": "abc123", "token": "t"}
    assert to_slack(slack_link, challenge).raw == b"abc123"
    assert to_slack(slack_link, challenge, secret="another").code == "hook_unverified"


def test_an_old_call_of_slack_is_refused(slack_link):
    assert to_slack(slack_link, {"type": "event_callback"}, at=time.time() - 301).code == "hook_unverified"


def sign(secret: str, body: bytes, at: float | None = None) -> str:
    moment = int(at if at is not None else time.time())
    return (
        f"t={moment},v1="
        + hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    )


def fire(world, body: bytes = b"{}", signature: str | None = None, **headers: str):
    signed = sign(world.hook_secret, body) if signature is None else signature
    return STRANGER.hook(f"/hooks/playbook/{world['playbook_id']}", body, Slipway_Signature=signed, **headers)


def test_a_signed_call_fires_a_playbook_with_what_it_carried(world, alice):
    run = fire(world, b'{"deploy": "v1.2"}')
    assert (run.status, run.body["trigger"]) == (202, "hook")
    task = alice.get(f"/v1/tasks/{run.body['task_id']}").body
    assert task["source"] == "playbook"
    assert '{"deploy": "v1.2"}' in task["prompt"]


def test_a_call_is_repeated_without_effect(world, alice):
    signature = sign(world.hook_secret, b"{}")
    first, replayed = fire(world, signature=signature), fire(world, signature=signature)
    assert (first.status, replayed.status, replayed.code) == (202, 409, "hook_replayed")
    keyed = [fire(world, b"once", Idempotency_Key="deploy-1").body["id"] for _ in range(2)]
    assert keyed[0] == keyed[1] != first.body["id"]
    assert len(alice.get(f"/v1/playbooks/{world['playbook_id']}/runs").body["items"]) == 2


@pytest.mark.parametrize(
    "signature",
    ["", "t=1", "v1=ab", "t=x,v1=y", "t=\u0661,v1=y", "t=99999999999999999999,v1=y", ",,,=", "t=1,v1=\u00fc"],
)
def test_an_unsigned_call_is_401(world, signature):
    refused = fire(world, signature=signature)
    assert (refused.status, refused.code) == (401, "hook_unverified")


def test_a_call_that_was_changed_or_kept_too_long_is_401(world):
    changed = sign(world.hook_secret, b"other")
    old = sign(world.hook_secret, b"{}", at=time.time() - 301)
    future = sign(world.hook_secret, b"{}", at=time.time() + 301)
    for signature in (changed, old, future, sign("whsec_guess", b"{}")):
        assert fire(world, signature=signature).code == "hook_unverified"


def test_a_captured_call_cannot_be_fired_again_under_another_key(world):
    signature = sign(world.hook_secret, b"{}")
    assert fire(world, signature=signature, Idempotency_Key="one").status == 202
    for headers in ({"Idempotency_Key": "two"}, {}):
        refused = fire(world, signature=signature, **headers)
        assert (refused.status, refused.code) == (409, "hook_replayed")


def test_an_unknown_or_disabled_playbook_is_404(world, alice):
    missing = STRANGER.hook(f"/hooks/playbook/{NOBODY}", b"{}", Slipway_Signature=sign("x", b"{}"))
    assert (missing.status, missing.code) == (404, "playbook_not_found")
    alice.patch(f"/v1/playbooks/{world['playbook_id']}", {"is_enabled": False})
    assert fire(world).code == "playbook_not_found"


@pytest.mark.parametrize(
    "body", [b"", b"\x00\x01\xff", "\ud800".encode("utf-8", "surrogatepass"), b"x" * 1_000_000]
)
def test_any_signed_body_makes_a_task(world, body):
    run = fire(world, body)
    assert (run.status, run.body["error"]) == (202, "")


def test_junk_in_slacks_forms_is_never_a_500(slack_link):
    payload: dict[str, Any] = {
        "type": "block_actions",
        "user": {"id": "U1", "name": "bob"},
        "container": {"channel_id": "C1", "message_ts": "1772443800.000200"},
        "actions": [{"type": "button", "action_id": "a", "action_ts": "1", "value": "q:x:0"}],
    }
    junk: list[Any] = [None, True, -1, 10**30, "", "x\x00y", "\ud800", [], [[]], {}, {"id": "x"}, "y" * 5_000]
    forms = [
        b"",
        b"payload",
        b"payload=",
        b"payload={",
        b"payload=[]",
        b"text=%2Fcommand",
        b"\xff=\xfe",
        b"a&" * 90,
    ]
    for field in payload:
        for value in junk:
            forms.append(urlencode({"payload": json.dumps(payload | {field: value})}).encode())
    forms.append(urlencode({"payload": json.dumps(payload)}).encode())
    for raw in forms:
        moment = str(int(time.time()))
        digest = hmac.new(SIGNING_SECRET.encode(), f"v0:{moment}:".encode() + raw, hashlib.sha256).hexdigest()
        headers = {"X_Slack_Request_Timestamp": moment, "X_Slack_Signature": f"v0={digest}"}
        answer = STRANGER.hook(
            f"/hooks/slack/{slack_link}", raw, Content_Type="application/x-www-form-urlencoded", **headers
        )
        assert answer.status in (200, 400, 401), raw
