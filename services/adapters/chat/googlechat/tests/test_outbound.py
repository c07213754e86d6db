"""What reaches Google Chat, and what its answers mean."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.adapters.chat.cards import render_card
from services.adapters.chat.googlechat.adapter import GoogleChatAdapter
from services.adapters.chat.googlechat.render import render
from services.adapters.chat.googlechat.tests.payloads import ACCOUNT, BOB, CONFIG, ENDPOINT, hook
from services.domain.errors import FileTooLarge, PlatformAway, PlatformRefused, PlatformThrottled
from services.domain.ports.chat import Place
from services.domain.ports.chat_abilities import Button
from tests.fakes.googlechat_issuer import GoogleIssuer
from tests.fakes.googlechat_server import FakeGoogleChat
from tests.fakes.serving import Fault

DIRECT = Place("spaces/AAAADIRECT")
THREAD = Place("spaces/AAAAROOM", "spaces/AAAAROOM/threads/BBBB")


@pytest.fixture
def issuer() -> Iterator[GoogleIssuer]:
    with GoogleIssuer(ACCOUNT) as running:
        yield running


@pytest.fixture
def server(issuer: GoogleIssuer) -> Iterator[FakeGoogleChat]:
    with FakeGoogleChat(issuer) as running:
        yield running


@pytest.fixture
def adapter(server: FakeGoogleChat, issuer: GoogleIssuer) -> GoogleChatAdapter:
    return GoogleChatAdapter(server.url, issuer.settings())


def test_a_first_link_is_named_by_its_account(adapter: GoogleChatAdapter) -> None:
    fresh = CONFIG.model_copy(update={"bot_id": "", "bot_name": ""})
    assert adapter.connect(fresh, ENDPOINT).platform_id == ACCOUNT.email


def test_health_names_what_has_to_be_mended(adapter: GoogleChatAdapter, issuer: GoogleIssuer) -> None:
    assert adapter.check_health(CONFIG, ENDPOINT) is None
    assert "address" in (adapter.check_health(CONFIG, "https://moved.example/hooks") or "")
    issuer.accounts.clear()
    assert "keys" in (adapter.check_health(CONFIG, ENDPOINT) or "")


def test_a_part_goes_into_its_thread(adapter: GoogleChatAdapter, server: FakeGoogleChat) -> None:
    (part,) = adapter.render("**Done** & [here](https://e.com)")
    receipt = adapter.send(CONFIG, THREAD, part)
    (message,) = server.sent.all()
    assert (message["name"], message["text"]) == (receipt.message_id, "*Done* & <https://e.com|here>")
    assert message["thread"] == {"name": "spaces/AAAAROOM/threads/BBBB"}


def test_the_same_key_is_the_same_message(adapter: GoogleChatAdapter, server: FakeGoogleChat) -> None:
    first = adapter.send_with_key(CONFIG, THREAD, "hello", "task:1/0")
    assert adapter.send_with_key(CONFIG, THREAD, "hello", "task:1/0") == first
    assert adapter.send_with_key(CONFIG, THREAD, "hello", "task:1/1") != first
    assert len(server.messages()) == 2


def test_a_repeat_after_a_broken_connection_is_recognised(
    adapter: GoogleChatAdapter, server: FakeGoogleChat
) -> None:
    server.faults.plan(Fault("drop"))
    with pytest.raises(PlatformAway):
        adapter.send_with_key(CONFIG, DIRECT, "hello", "k")
    found = adapter.find_sent(CONFIG, DIRECT, "k")
    assert adapter.send_with_key(CONFIG, DIRECT, "hello", "k") == found
    server.forget_requests()
    assert adapter.send_with_key(CONFIG, DIRECT, "hello", "k") == found
    assert len(server.messages()) == 1


def test_one_token_serves_many_calls_and_a_revoked_one_is_replaced(
    adapter: GoogleChatAdapter, server: FakeGoogleChat, issuer: GoogleIssuer
) -> None:
    for _ in range(3):
        adapter.send(CONFIG, DIRECT, "hello")
    assert len(issuer.calls.all()) == 1
    issuer.revoke_tokens()
    adapter.send(CONFIG, DIRECT, "hello")
    assert len(issuer.calls.all()) == 2


def test_a_space_takes_so_many_writes_a_minute(issuer: GoogleIssuer) -> None:
    with FakeGoogleChat(issuer, writes=2) as strict:
        adapter = GoogleChatAdapter(strict.url, issuer.settings())
        receipt = adapter.send(CONFIG, DIRECT, "hello")
        adapter.edit(CONFIG, DIRECT, receipt.message_id, "better")
        with pytest.raises(PlatformThrottled) as caught:
            adapter.send(CONFIG, DIRECT, "hello")
        assert caught.value.retry_after_s == 15
        adapter.send(CONFIG, THREAD, "hello")


def test_a_press_comes_back_with_its_value_and_a_refusal_is_private(
    adapter: GoogleChatAdapter, server: FakeGoogleChat
) -> None:
    card = render_card(adapter, "Go?", [Button("Yes", "yes:1"), Button("Docs", url="https://e.com/")])
    receipt = adapter.send_card_with_key(CONFIG, THREAD, card.parts[-1], card.buttons, "k")
    clicked = server.press(server.sent.all()[0], "Yes", BOB)
    (press,) = adapter.parse(CONFIG, hook(clicked)).presses
    assert (press.value, press.message_id, press.place) == ("yes:1", receipt.message_id, THREAD)
    assert clicked["action"]["actionMethodName"] == ENDPOINT
    adapter.answer_press(CONFIG, THREAD, "", BOB["name"], "Not *you*.", is_refusal=True)
    assert server.sent.all()[1]["privateMessageViewer"] == {"name": BOB["name"]}
    adapter.edit(CONFIG, THREAD, receipt.message_id, "Gone")
    assert (server.sent.all()[0]["text"], server.sent.all()[0]["cardsV2"]) == ("Gone", [])


def test_uploads_are_fetched_up_to_their_limit(adapter: GoogleChatAdapter, server: FakeGoogleChat) -> None:
    server.uploads["ClxzcGFjZXM/a"] = b"x" * 1_000
    assert adapter.fetch_file(CONFIG, "ClxzcGFjZXM/a", 1_000) == b"x" * 1_000
    with pytest.raises(FileTooLarge):
        adapter.fetch_file(CONFIG, "ClxzcGFjZXM/a", 999)
    for ref in ("", "../spaces", "nothing"):
        with pytest.raises(PlatformRefused):
            adapter.fetch_file(CONFIG, ref, 1_000)


@pytest.mark.parametrize("name", ["spaces/a/b", "spaces/..", "rooms/AAAAROOM", "spaces/A?x=1", ""])
def test_only_spaces_and_messages_are_ever_named(
    adapter: GoogleChatAdapter, server: FakeGoogleChat, name: str
) -> None:
    for call in (
        lambda: adapter.send(CONFIG, Place(name), "x"),
        lambda: adapter.edit(CONFIG, DIRECT, f"{name}/messages/1/../2", "x"),
        lambda: adapter.delete(CONFIG, DIRECT, name),
    ):
        with pytest.raises(PlatformRefused):
            call()
    assert server.calls.all() == []


@pytest.mark.parametrize(
    ("markdown", "markup"),
    [
        ("**a** *b* ~~c~~ `d`", "*a* _b_ ~c~ `d`"),
        ("<users/all> \\<https://a.b|c>", "<\u200busers/all> <\u200bhttps://a.b|c>"),
        ("[a|b](https://e.com/?x=1)", "<https://e.com/?x=1|a¦b>"),
        ("un**believ**able", "un\u200b*believ*\u200bable"),
        ("```python\nx < 1\n```", "```\nx < 1\n```"),
        ("> a\n> **b**", "> a\n> *b*"),
    ],
)
def test_markdown_becomes_google_s_markup(markdown: str, markup: str) -> None:
    assert render(markdown) == [markup]
