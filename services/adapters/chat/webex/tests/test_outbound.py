"""What reaches Webex, and what its answers mean."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.adapters.chat.cards import render_card
from services.adapters.chat.markdown import Span
from services.adapters.chat.splitting import split
from services.adapters.chat.webex.adapter import WebexAdapter
from services.adapters.chat.webex.render import DIALECT, render
from services.adapters.chat.webex.tests.payloads import CONFIG, call
from services.domain.errors import PlatformRefused, PlatformThrottled
from services.domain.ports.chat import LinkIdentity, Place
from services.domain.ports.chat_abilities import Button, OutgoingFile
from tests.fakes.serving import Fault
from tests.fakes.webex_markdown import read_markdown
from tests.fakes.webex_server import BOB_ID, BOT_ID, DIRECT_ROOM, GROUP_ROOM, FakeWebex

HOOK = "https://slipway.example/hooks/webex/1"
DIRECT = Place(DIRECT_ROOM)


@pytest.fixture
def server() -> Iterator[FakeWebex]:
    with FakeWebex(tokens=[CONFIG.bot_token.get_secret_value()]) as running:
        yield running


@pytest.fixture
def adapter(server: FakeWebex) -> WebexAdapter:
    return WebexAdapter(server.url)


def test_connecting_makes_the_webhooks_once(adapter: WebexAdapter, server: FakeWebex) -> None:
    for _ in range(2):
        assert adapter.connect(CONFIG, HOOK) == LinkIdentity(BOT_ID, "Slipway")
    assert {(one["resource"], one["event"]) for one in server.hooks.values()} == {
        ("messages", "created"),
        ("messages", "updated"),
        ("messages", "deleted"),
        ("attachmentActions", "created"),
    }
    assert len(server.hooks) == 4
    assert {one["secret"] for one in server.hooks.values()} == {CONFIG.hook_secret.decode()}
    adapter.disconnect(CONFIG)
    assert server.hooks == {}


def test_webhooks_of_others_are_left_alone(adapter: WebexAdapter, server: FakeWebex) -> None:
    server.hooks["theirs"] = {"id": "theirs", "name": "other", "status": "active"}
    adapter.connect(CONFIG, HOOK)
    adapter.disconnect(CONFIG)
    assert list(server.hooks) == ["theirs"]


def test_health_sees_a_webhook_that_was_switched_off(adapter: WebexAdapter, server: FakeWebex) -> None:
    adapter.connect(CONFIG, HOOK)
    assert adapter.check_health(CONFIG, HOOK) is None
    assert "Connect the link again" in (adapter.check_health(CONFIG, "https://moved.example/") or "")
    next(iter(server.hooks.values()))["status"] = "inactive"
    assert "switched off" in (adapter.check_health(CONFIG, HOOK) or "")
    server.tokens = []
    assert "token" in (adapter.check_health(CONFIG, HOOK) or "")


def test_a_part_goes_into_its_thread(adapter: WebexAdapter, server: FakeWebex) -> None:
    root = server.write(GROUP_ROOM, "ask")["data"]["id"]
    (part,) = adapter.render("**Done** & [here](https://e.com)")
    receipt = adapter.send(CONFIG, Place(GROUP_ROOM, root), part)
    (message,) = server.sent.all()
    assert (message["id"], message["parentId"]) == (receipt.message_id, root)
    assert (message["markdown"], message["text"]) == ("**Done** & [here](<https://e.com>)", "Done & here")


def test_a_message_can_be_edited_ten_times(adapter: WebexAdapter, server: FakeWebex) -> None:
    receipt = adapter.send(CONFIG, DIRECT, "one")
    for number in range(10):
        adapter.edit(CONFIG, DIRECT, receipt.message_id, f"edit {number}")
    with pytest.raises(PlatformRefused) as caught:
        adapter.edit(CONFIG, DIRECT, receipt.message_id, "one too many")
    assert "too often" in caught.value.details["said"]
    assert server.messages[receipt.message_id]["text"] == "edit 9"


def test_a_press_comes_back_with_its_value_and_a_closed_card_is_replaced(
    adapter: WebexAdapter, server: FakeWebex
) -> None:
    card = render_card(adapter, "Go **now**?", [Button("Yes", "yes:1"), Button("Docs", url="https://e.com/")])
    receipt = adapter.send_card(CONFIG, DIRECT, card.parts[-1], card.buttons)
    (message,) = server.sent.all()
    assert message["attachments"][0]["content"]["body"][0]["text"] == "Go **now**?"
    pressed = adapter.complete(CONFIG, call(server.press(message, "Yes")))
    (press,) = adapter.parse(CONFIG, pressed).presses
    assert (press.value, press.message_id, press.sender.platform_id) == ("yes:1", receipt.message_id, BOB_ID)
    adapter.edit(CONFIG, DIRECT, receipt.message_id, "Answered: Yes")
    assert [one["text"] for one in server.messages.values()] == ["Answered: Yes"]
    adapter.answer_press(CONFIG, DIRECT, "", BOB_ID, "Not *you*.", is_refusal=True)
    assert server.sent.all()[-1]["text"] == "Not you."


def test_a_file_goes_with_its_caption_into_its_thread(adapter: WebexAdapter, server: FakeWebex) -> None:
    root = server.write(GROUP_ROOM, "ask")["data"]["id"]
    file = OutgoingFile("a.csv", "text/csv", b"a,b\n")
    adapter.send_file(CONFIG, Place(GROUP_ROOM, root), file, "The *table*")
    (entry,) = server.files.all()
    assert (entry["name"], entry["data"]) == ("a.csv", b"a,b\n")
    assert (entry["message"]["text"], entry["message"]["parentId"]) == ("The table", root)


def test_a_file_that_is_being_scanned_is_asked_for_later(adapter: WebexAdapter, server: FakeWebex) -> None:
    address = server.upload("plan.pdf", "application/pdf", b"%PDF-1.7")
    server.faults.plan(Fault("scan", retry_after_s=9, method="contents"))
    with pytest.raises(PlatformThrottled) as caught:
        adapter.fetch_file(CONFIG, address, 100)
    assert caught.value.retry_after_s == 9


@pytest.mark.parametrize(
    ("markdown", "markup"),
    [
        ("**a** *b* ~~c~~ `d`", "**a** *b* c `d`"),
        ("# Title\n\ntext", "**Title**  \n  \ntext"),
        ("[a](https://e.com/?x=1&y=2)", "[a](<https://e.com/?x=1&y=2>)"),
        ("1. a\n2. b", "1\\. a  \n2\\. b"),
        ("\\# a & \\&amp; <b>", "\\# a & \\&amp; \\<b\\>"),
        ("<@all> hello", "\\<\u200b@all\\> hello"),
        ("un**believ**able", "un\u200a**believ**\u200aable"),
        ("**Done!**", "**Done!**"),
        ("- a\n  - b", "• a  \n\u00a0\u00a0• b"),
        ("```python\nx < 1 * 2\n```", "```\nx < 1 * 2\n```"),
        ("> a\n> **b**", "> a  \n> **b**"),
    ],
)
def test_markdown_becomes_webex_s(markdown: str, markup: str) -> None:
    assert render(markdown) == [markup]


@pytest.mark.parametrize(
    "text", ["a * b * c", "- x", "+ x", "=====", "3) x", "~~~", "#1", "a_b_c", "&copy;", "[x](y)"]
)
def test_what_looks_like_markup_is_read_as_it_was_typed(text: str) -> None:
    (shown,) = split([Span(text)], DIALECT)
    assert read_markdown(shown) == text
