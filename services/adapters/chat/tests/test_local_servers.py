"""The local servers are as strict as the platforms, and run as processes too."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

from services.adapters.chat.slack import inbound as slack_inbound
from services.adapters.chat.slack.tests.payloads import CONFIG as SLACK
from services.adapters.chat.telegram import inbound as telegram_inbound
from services.adapters.chat.telegram.adapter import TelegramAdapter
from services.adapters.chat.telegram.tests.payloads import CONFIG as TELEGRAM
from services.adapters.chat.tests.hook import Hook
from tests.fakes.serving import Journal
from tests.fakes.slack_server import FakeSlack
from tests.fakes.telegram_html import CannotParse, read_html
from tests.fakes.telegram_server import FakeTelegram

TOKEN = TELEGRAM.bot_token.get_secret_value()


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as made:
        yield made


def test_an_update_that_telegram_delivers_is_verified_and_read(hook: Hook) -> None:
    with FakeTelegram() as server:
        TelegramAdapter(server.url).connect(TELEGRAM, hook.url)
        body = {"chat_id": -1001, "text": "hi @slipway_bot", "repeat": 3, "fields": {"message_thread_id": 4}}
        answer = httpx.post(f"{server.url}/__control/deliver", json=body).json()
    assert answer["statuses"] == [200, 200, 200]
    calls = [entry["call"] for entry in hook.calls.all()]
    for call in calls:
        telegram_inbound.verify(TELEGRAM, call)
    keys = {telegram_inbound.parse(TELEGRAM, call).messages[0].dedupe_key for call in calls}
    assert len(keys) == 1
    (message,) = telegram_inbound.parse(TELEGRAM, calls[0]).messages
    assert (message.text, message.is_mention) == ("hi", True)


def test_an_event_that_slack_delivers_is_verified_and_read(hook: Hook) -> None:
    with FakeSlack() as server:
        assert SLACK.signing_secret is not None
        secret = SLACK.signing_secret.get_secret_value()
        httpx.post(f"{server.url}/__control/subscribe", json={"url": hook.url, "signing_secret": secret})
        body = {"channel": "C0123ABCD", "text": "hello", "repeat": 2}
        answer = httpx.post(f"{server.url}/__control/deliver", json=body).json()
        server.deliver(server.mention(answer["envelope"]))
    calls = [entry["call"] for entry in hook.calls.all()]
    for call in calls:
        slack_inbound.verify(SLACK, call)
    assert len({slack_inbound.parse(SLACK, call).messages[0].dedupe_key for call in calls}) == 1
    assert calls[1].headers["x-slack-retry-num"] == "1"


@pytest.mark.parametrize(
    "markup",
    [
        "<b>a",
        "a</b>",
        "<b><i>a</b></i>",
        "<blink>a</blink>",
        "a < b",
        "<b x='1'>a</b>",
        "<code><b>a</b></code>",
    ],
)
def test_unsound_markup_is_not_parsed(markup: str) -> None:
    with pytest.raises(CannotParse, match="can't parse entities"):
        read_html(markup)


def _telegram(server: FakeTelegram, method: str, **params: object) -> tuple[int, str]:
    answer = httpx.post(f"{server.url}/bot{TOKEN}/{method}", json=params).json()
    return answer.get("error_code", 200), answer.get("description", "")


def test_telegram_refuses_what_the_platform_refuses() -> None:
    with FakeTelegram(bots={TOKEN: "slipway_bot"}) as server:
        assert httpx.get(f"{server.url}/bot1:wrong/getMe").status_code == 401
        assert httpx.get(f"{server.url}/botnonsense/getMe").status_code == 404
        assert _telegram(server, "sendMessage", chat_id=1, text="x")[0] == 200
        for fields in (
            {"text": "x"},
            {"chat_id": "nobody", "text": "x"},
            {"chat_id": 1},
            {"chat_id": 1, "text": " "},
            {"chat_id": 1, "text": "x" * 4097},
            {"chat_id": 1, "text": "😀" * 2049},
            {"chat_id": 1, "text": "<b>", "parse_mode": "HTML"},
            {"chat_id": 1, "text": "x", "parse_mode": "Word"},
            {"chat_id": 1, "text": "x", "reply_parameters": {"message_id": 99}},
            {"chat_id": -1, "text": "x", "message_thread_id": -4},
        ):
            assert _telegram(server, "sendMessage", **fields)[0] == 400, fields
        assert _telegram(server, "setWebhook", url="https://e.com", secret_token="a b")[0] == 400
        assert _telegram(server, "sendChatAction", chat_id=1, action="sleeping")[0] == 400
        assert _telegram(server, "flyToTheMoon")[0] == 404


def test_telegram_edits_messages_and_shows_its_webhook() -> None:
    with FakeTelegram() as server:
        _telegram(server, "sendMessage", chat_id=1, text="one")
        edited = {"chat_id": 1, "message_id": 1, "text": "two"}
        assert _telegram(server, "editMessageText", **edited)[0] == 200
        assert "not modified" in _telegram(server, "editMessageText", **edited)[1]
        assert _telegram(server, "editMessageText", **edited | {"message_id": 2})[0] == 400
        _telegram(server, "setWebhook", url="https://e.com/h", secret_token="s")
        found = httpx.get(f"{server.url}/bot{TOKEN}/getWebhookInfo").json()["result"]
        assert found == {"url": "https://e.com/h", "has_custom_certificate": False, "pending_update_count": 0}


def test_slack_takes_arguments_in_every_form_and_refuses_what_the_platform_refuses() -> None:
    with FakeSlack(tokens=["xoxb-1"]) as server:
        url, head = f"{server.api_base}chat.postMessage", {"authorization": "Bearer xoxb-1"}
        message = {"channel": "C0123ABCD", "text": "x"}
        assert httpx.post(url, json=message, headers=head).json()["ok"]
        assert httpx.post(url, data=message | {"token": "xoxb-1"}).json()["ok"]
        assert httpx.post(url, params=message, headers=head).json()["ok"]
        refused = {
            "not_authed": httpx.post(url, json=message),
            "invalid_auth": httpx.post(url, json=message, headers={"authorization": "Bearer xoxb-2"}),
            "channel_not_found": httpx.post(url, json={"text": "x"}, headers=head),
            "no_text": httpx.post(url, json=message | {"text": ""}, headers=head),
            "msg_too_long": httpx.post(url, json=message | {"text": "x" * 40_001}, headers=head),
            "invalid_thread_ts": httpx.post(url, json=message | {"thread_ts": "1"}, headers=head),
            "unknown_method": httpx.post(f"{server.api_base}chat.sing", headers=head),
            "message_not_found": httpx.post(
                f"{server.api_base}chat.update", json=message | {"ts": "1"}, headers=head
            ),
        }
        assert {code: answer.json()["error"] for code, answer in refused.items()} == {
            code: code for code in refused
        }
        told = httpx.post(f"{server.api_base}conversations.info", json={"channel": "D0123ABCD"}, headers=head)
        assert told.json()["channel"]["is_im"]


@pytest.mark.parametrize("name", ["telegram", "slack"])
def test_each_runs_as_a_process(name: str) -> None:
    command = [sys.executable, "-m", f"tests.fakes.{name}_server", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        variable, _, address = process.stdout.readline().strip().partition("=")
        assert variable == f"{name.upper()}_API_BASE"
        root = address.removesuffix("/api/")
        httpx.post(f"{root}/__control/fail", json={"how": "throttle", "retry_after_s": 9})
        first = httpx.post(f"{root}/bot1:a/getMe" if name == "telegram" else f"{root}/api/auth.test")
        assert first.status_code == 429
        assert len(httpx.get(f"{root}/__control/calls").json()["calls"]) == 1
        httpx.post(f"{root}/__control/reset")
        assert httpx.get(f"{root}/__control/calls").json() == {"calls": []}
    finally:
        process.terminate()
        assert process.stdout is not None
        process.stdout.close()
        process.wait(10)


def test_waiting_for_a_message_ends_when_it_comes_or_when_time_is_up() -> None:
    journal = Journal()
    journal.add({"text": "one"})
    assert journal.wait_for(1) == [{"text": "one"}]
    started = time.monotonic()
    with pytest.raises(TimeoutError, match="1 of 2"):
        journal.wait_for(2, timeout_s=0.05)
    assert time.monotonic() - started < 5
    assert json.dumps(journal.all()) == '[{"text": "one"}]'
