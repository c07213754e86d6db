"""What reaches Telegram, and what its answers mean."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from services.adapters.chat.telegram.adapter import TelegramAdapter
from services.adapters.chat.telegram.render import plain, render
from services.adapters.chat.telegram.tests.payloads import BOT_NAME, CONFIG, SECRET
from services.domain.errors import PlatformAway, PlatformRefused, PlatformThrottled
from services.domain.ports.chat import LinkIdentity, Place
from services.domain.ports.chat_abilities import CommandHint
from tests.fakes.serving import Fault
from tests.fakes.telegram_server import FakeTelegram

TOKEN = CONFIG.bot_token.get_secret_value()
GROUP = Place("-1001", "12")


@pytest.fixture
def server() -> Iterator[FakeTelegram]:
    with FakeTelegram(bots={TOKEN: BOT_NAME}) as running:
        yield running


@pytest.fixture
def adapter(server: FakeTelegram) -> TelegramAdapter:
    return TelegramAdapter(server.url)


def test_connecting_sets_the_webhook_with_its_secret(adapter: TelegramAdapter, server: FakeTelegram) -> None:
    identity = adapter.connect(CONFIG, "https://slipway.example/hooks/telegram/1")
    assert identity == LinkIdentity("110201543", BOT_NAME)
    assert server.webhooks[TOKEN] == {
        "url": "https://slipway.example/hooks/telegram/1",
        "secret_token": SECRET,
        "allowed_updates": [
            "message",
            "edited_message",
            "channel_post",
            "edited_channel_post",
            "callback_query",
            "stopped_message_generation",
        ],
    }
    adapter.disconnect(CONFIG)
    assert server.webhooks == {}


def test_an_address_that_telegram_cannot_use_is_refused(adapter: TelegramAdapter) -> None:
    with pytest.raises(PlatformRefused) as caught:
        adapter.connect(CONFIG, "http://slipway.example/hooks/telegram/1")
    assert "https url" in caught.value.details["answer"]


def test_a_part_goes_into_its_topic_as_a_reply(adapter: TelegramAdapter, server: FakeTelegram) -> None:
    asked = server.message(-1001, "Ready?")["message"]["message_id"]
    (part,) = adapter.render("**Done** & `x < y`")
    receipt = adapter.send(CONFIG, GROUP, part, reply_to=str(asked))
    (entry,) = server.sent.all()
    message = entry["message"]
    assert receipt.message_id == str(message["message_id"])
    assert (message["text"], message["message_thread_id"]) == ("Done & x < y", 12)
    assert [entity["type"] for entity in message["entities"]] == ["bold", "code"]
    assert message["reply_to_message"]["message_id"] == asked


def test_a_reply_to_a_deleted_message_is_sent_all_the_same(
    adapter: TelegramAdapter, server: FakeTelegram
) -> None:
    adapter.send(CONFIG, GROUP, "hello", reply_to="4711")
    assert "reply_to_message" not in server.sent.all()[0]["message"]


def test_markup_that_telegram_refuses_is_sent_as_plain_text(
    adapter: TelegramAdapter, server: FakeTelegram
) -> None:
    adapter.send(CONFIG, GROUP, "<b>a &lt; b</b> and <blink>c</blink>")
    (entry,) = server.sent.all()
    assert entry["message"]["text"] == "a < b and <blink>c</blink>"
    assert "parse_mode" not in entry["params"]


def test_other_refusals_are_not_tried_again(adapter: TelegramAdapter, server: FakeTelegram) -> None:
    with pytest.raises(PlatformRefused) as caught:
        adapter.send(CONFIG, GROUP, "x" * 4097)
    assert "too long" in caught.value.details["answer"]
    assert len(server.calls.all()) == 1


def test_a_group_that_became_a_supergroup_names_its_new_id(
    adapter: TelegramAdapter, server: FakeTelegram
) -> None:
    server.faults.plan(Fault("migrate"))
    with pytest.raises(PlatformRefused) as caught:
        adapter.send(CONFIG, Place("-5"), "hello")
    assert caught.value.details["new_chat_id"] == "-1001234567890"


def test_unknown_chats_topics_and_tokens_are_refused(server: FakeTelegram) -> None:
    forum = {-1001: {"type": "supergroup", "title": "Acme", "is_forum": True, "topics": [3]}}
    with FakeTelegram(bots={TOKEN: BOT_NAME}, chats=forum) as strict:
        adapter = TelegramAdapter(strict.url)
        adapter.send(CONFIG, Place("-1001", "3"), "hello")
        for place in (Place("-1002"), Place("-1001", "4"), Place("@acme"), Place("-1001", "x")):
            with pytest.raises(PlatformRefused):
                adapter.send(CONFIG, place, "hello")


def test_typing_shows_in_the_topic(adapter: TelegramAdapter, server: FakeTelegram) -> None:
    adapter.show_typing(CONFIG, GROUP)
    (call,) = server.calls.all()
    assert call["method"] == "sendchataction"
    assert call["params"] == {"chat_id": "-1001", "action": "typing", "message_thread_id": "12"}


def test_throttling_is_told_for_every_call(adapter: TelegramAdapter, server: FakeTelegram) -> None:
    server.faults.plan(Fault("throttle", retry_after_s=31))
    with pytest.raises(PlatformThrottled) as caught:
        adapter.show_typing(CONFIG, GROUP)
    assert caught.value.retry_after_s == 31


def test_the_token_is_not_logged(adapter: TelegramAdapter, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), caplog.at_level(logging.INFO, logger="httpx"):
        adapter.send(CONFIG, GROUP, "hello")
    assert "/bot<token>/sendMessage" in caplog.text
    assert TOKEN.partition(":")[2] not in caplog.text


def test_a_forked_child_can_send_too(server: FakeTelegram) -> None:
    program = (
        "import os, sys\n"
        "from services.adapters.chat.telegram.tests.test_outbound import CONFIG, GROUP, TelegramAdapter\n"
        "adapter = TelegramAdapter(sys.argv[1])\n"
        "adapter.send(CONFIG, GROUP, 'from the parent')\n"
        "child = os.fork()\n"
        "adapter.send(CONFIG, GROUP, 'from the child' if not child else 'from the parent again')\n"
        "if child:\n"
        "    sys.exit(os.waitpid(child, 0)[1])\n"
    )
    subprocess.run([sys.executable, "-c", program, server.url], check=True, timeout=30)
    texts = {entry["message"]["text"] for entry in server.sent.all()}
    assert texts == {"from the parent", "from the child", "from the parent again"}


def test_a_server_that_comes_back_is_reached_again(server: FakeTelegram) -> None:
    port = None
    with FakeTelegram() as first:
        adapter, port = TelegramAdapter(first.url), int(first.url.rpartition(":")[2])
        adapter.send(CONFIG, GROUP, "one")
    with pytest.raises(PlatformAway):
        adapter.send(CONFIG, GROUP, "two")
    with FakeTelegram(port=port) as second:
        adapter.send(CONFIG, GROUP, "three")
        assert len(second.sent.all()) == 1


def test_calls_share_one_thread(adapter: TelegramAdapter) -> None:
    for _ in range(3):
        adapter.send(CONFIG, GROUP, "hello")
    assert [thread.name for thread in threading.enumerate()].count("telegram-client") == 1


def test_plain_text_undoes_what_render_did() -> None:
    text = "a <b> & c\n\ncode: x < y"
    assert plain(render(text)[0]) == text


def test_people_are_shown_the_commands_that_the_bot_understands(
    adapter: TelegramAdapter, server: FakeTelegram
) -> None:
    adapter.show_commands(
        CONFIG, [CommandHint("help", "List what I understand"), CommandHint("stop", "x" * 300)]
    )
    (listed,) = server.extras.commands.values()
    assert listed[0] == {"command": "help", "description": "List what I understand"}
    assert len(listed[1]["description"]) == 256


def test_a_code_is_sent_by_the_address_that_opens_the_chat(adapter: TelegramAdapter) -> None:
    named = CONFIG.model_copy(update={"bot_name": "our_bot"})
    assert adapter.link_to_chat(named, "ABC234") == "https://t.me/our_bot?start=ABC234"
