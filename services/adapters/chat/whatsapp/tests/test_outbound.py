"""What reaches WhatsApp, and what its answers mean."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.adapters.chat.cards import CHOOSE, render_card
from services.adapters.chat.tests.hook import Hook
from services.adapters.chat.whatsapp import inbound
from services.adapters.chat.whatsapp.adapter import WhatsappAdapter
from services.adapters.chat.whatsapp.config import WhatsappConfig
from services.adapters.chat.whatsapp.tests.payloads import APP_SECRET, CONFIG
from services.domain.errors import FileTooLarge, PlatformAway, PlatformRefused, PlatformThrottled
from services.domain.ports.chat import HookReply, HookRequest, Place
from services.domain.ports.chat_abilities import Button, OutgoingFile
from tests.fakes.serving import Fault
from tests.fakes.whatsapp_server import GROUP_ID, PERSON, PERSON_ID, FakeWhatsapp

BOB = Place(PERSON_ID)
BARE = WhatsappConfig.model_validate(CONFIG.revealed() | {"template": ""})


@pytest.fixture
def server() -> Iterator[FakeWhatsapp]:
    with FakeWhatsapp() as running:
        yield running


@pytest.fixture
def adapter(server: FakeWhatsapp) -> WhatsappAdapter:
    return WhatsappAdapter(server.url)


def test_a_person_is_written_to_by_id_or_by_number(adapter: WhatsappAdapter, server: FakeWhatsapp) -> None:
    adapter.send(CONFIG, BOB, "hello", reply_to="wamid.in1")
    adapter.send(CONFIG, Place(PERSON), "hello")
    by_id, by_number = (entry["params"] for entry in server.sent.all())
    assert by_id == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "recipient": PERSON_ID,
        "type": "text",
        "text": {"body": "hello", "preview_url": False},
        "context": {"message_id": "wamid.in1"},
    }
    assert by_number["to"] == PERSON
    assert "recipient" not in by_number


def test_a_group_takes_text_and_numbered_choices_and_is_not_marked_as_read(
    adapter: WhatsappAdapter, server: FakeWhatsapp
) -> None:
    group = Place(f"group:{GROUP_ID}")
    adapter.send(CONFIG, group, "hello")
    adapter.send_card(CONFIG, group, "Which?", [Button("Yes", "q:1:0"), Button("No", "q:1:1")])
    adapter.acknowledge(CONFIG, group, "wamid.group1")
    assert [entry["text"] for entry in server.sent.all()] == ["hello", "Which?\n\n1. Yes\n2. No"]
    assert {entry["params"]["recipient_type"] for entry in server.sent.all()} == {"group"}
    assert server.read.all() == []
    with pytest.raises(PlatformRefused, match="reactions"):
        adapter.react(CONFIG, group, "wamid.group1", "👍")
    with pytest.raises(PlatformRefused, match="not in it"):
        adapter.send(CONFIG, Place("group:of-others"), "hello")


def test_markup_is_whatsapps_own() -> None:
    rendered = WhatsappAdapter("x").render(
        "**bold** *it* ~~no~~ `code` [site](https://e.org)\n\n> said\n\n```py\na = 1\n```\n\nun**bold**ed"
    )
    assert rendered == [
        "*bold* _it_ ~no~ `code` site (https://e.org)\n\n> said\n\n```\na = 1\n```\n\nun\u200b*bold*\u200bed",
    ]


def test_connecting_sets_the_numbers_own_webhook_which_is_called_to_check_it(server: FakeWhatsapp) -> None:
    adapter = WhatsappAdapter(server.url)
    server.checks_hooks = True

    def answer(call: HookRequest) -> HookReply | None:
        inbound.verify(CONFIG, call)
        return inbound.parse(CONFIG, call).reply

    with Hook(answer) as hook:
        assert adapter.connect(CONFIG, hook.url).display_name == "Acme"
        assert adapter.check_health(CONFIG, hook.url) is None
        assert "another address" in str(adapter.check_health(CONFIG, "https://other.example/hook"))
        server.subscribe(hook.url, APP_SECRET)
        server.deliver(server.message("hello"))
        inbound.verify(CONFIG, hook.calls.wait_for(2)[1]["call"])
    with pytest.raises(PlatformRefused):
        adapter.connect(CONFIG, "http://127.0.0.1:9/nobody")
    adapter.disconnect(CONFIG)
    assert server.hook == {}


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"status": "FLAGGED"}, "FLAGGED"), ({"quality": "RED"}, "block or report")],
)
def test_a_number_that_is_not_well_says_so(
    adapter: WhatsappAdapter, server: FakeWhatsapp, fields: dict[str, str], words: str
) -> None:
    server.hook = {"phone_number": "https://slipway.example/h"}
    for name, value in fields.items():
        setattr(server, name, value)
    assert words in str(adapter.check_health(CONFIG, "https://slipway.example/h"))


def test_a_revoked_token_is_told_by_the_health(server: FakeWhatsapp) -> None:
    server.tokens = ["another"]
    assert "access token" in str(WhatsappAdapter(server.url).check_health(CONFIG, "https://x.example"))


def test_in_a_closed_chat_the_template_carries_the_text(
    adapter: WhatsappAdapter, server: FakeWhatsapp
) -> None:
    server.closed.add(PERSON_ID)
    assert adapter.send(CONFIG, BOB, "two\nlines\t and   blanks").message_id
    (entry,) = server.sent.all()
    assert (entry["type"], entry["text"]) == ("template", "two lines and blanks")
    assert entry["params"]["template"]["name"] == "news"


@pytest.mark.parametrize(
    ("config", "text", "words"),
    [(BARE, "hello", "24 hours"), (CONFIG, "x" * 1_025, "too long for the template")],
)
def test_without_a_template_or_for_a_long_text_it_says_what_to_do(
    adapter: WhatsappAdapter, server: FakeWhatsapp, config: WhatsappConfig, text: str, words: str
) -> None:
    server.closed.add(PERSON_ID)
    with pytest.raises(PlatformRefused) as caught:
        adapter.send(config, BOB, text)
    assert words in caught.value.message
    assert server.sent.all() == []


def test_a_template_that_is_not_there_says_so(adapter: WhatsappAdapter, server: FakeWhatsapp) -> None:
    server.templates.clear()
    with pytest.raises(PlatformRefused) as caught:
        adapter.send_opening(CONFIG, BOB, "hello")
    assert "no such template" in caught.value.message


@pytest.mark.parametrize(
    ("how", "error", "wait_s"),
    [
        ("130429", PlatformThrottled, 1),
        ("pair", PlatformThrottled, 6),
        ("80007", PlatformThrottled, 60),
        ("131048", PlatformThrottled, 3600),
        ("131000", PlatformAway, None),
        ("131016", PlatformAway, None),
        ("131026", PlatformRefused, None),
        ("190", PlatformRefused, None),
        ("210", PlatformRefused, None),
        ("999999", PlatformRefused, None),
    ],
)
def test_codes_mean_what_the_table_says(
    adapter: WhatsappAdapter, server: FakeWhatsapp, how: str, error: type[Exception], wait_s: float | None
) -> None:
    server.faults.plan(Fault(how))
    with pytest.raises(error) as caught:
        adapter.send(CONFIG, BOB, "hello")
    if wait_s is not None:
        assert caught.value.retry_after_s == wait_s  # type: ignore[attr-defined]


def test_up_to_three_choices_are_buttons_and_more_are_a_list(
    adapter: WhatsappAdapter, server: FakeWhatsapp
) -> None:
    few = [Button("Yes", "q:1:0"), Button("No", "q:1:1")]
    adapter.send_card(CONFIG, BOB, "Ship it?", [*few, Button("See", url="https://e.org/d")])
    adapter.send_card(CONFIG, BOB, "Which?", [Button(f"Choice {n}", f"q:1:{n}") for n in range(4)])
    adapter.send_card(CONFIG, BOB, "Same?", [Button("Same", "a"), Button("Same", "b")])
    kinds = [entry["params"]["interactive"]["type"] for entry in server.sent.all()]
    assert kinds == ["button", "list", "list"]
    assert server.sent.all()[0]["text"] == "Ship it?\n\nSee: https://e.org/d"


def test_a_card_of_addresses_alone_is_a_text(adapter: WhatsappAdapter, server: FakeWhatsapp) -> None:
    adapter.send_card(CONFIG, BOB, "Look:", [Button("Here", url="https://e.org/d")])
    assert server.sent.all()[0]["text"] == "Look:\n\nHere: https://e.org/d"


def test_a_long_address_goes_before_a_long_card(adapter: WhatsappAdapter, server: FakeWhatsapp) -> None:
    link = Button("Here", url="https://e.org/" + "d" * 300)
    adapter.send_card(CONFIG, BOB, "x" * 900, [Button("Yes", "y"), link])
    before, card = server.sent.all()
    assert (before["type"], card["type"]) == ("text", "interactive")
    assert link.url in before["text"]


def test_a_text_that_is_too_long_for_a_card_goes_before_it(adapter: WhatsappAdapter) -> None:
    card = render_card(adapter, "word " * 500, [Button("Yes", "y")])
    assert card.parts[-1] == CHOOSE
    assert "word" in card.parts[0]


def test_taking_up_a_message_marks_it_read_and_shows_typing(
    adapter: WhatsappAdapter, server: FakeWhatsapp
) -> None:
    for _ in range(2):
        adapter.acknowledge(CONFIG, BOB, "wamid.in1")
    assert server.read.all()[0] == {
        "messaging_product": "whatsapp",
        "status": "read",
        "message_id": "wamid.in1",
        "typing_indicator": {"type": "text"},
    }


def test_a_press_is_answered_by_a_message(adapter: WhatsappAdapter, server: FakeWhatsapp) -> None:
    adapter.answer_press(CONFIG, BOB, "wamid.in1", PERSON_ID, "Somebody else decides.", is_refusal=True)
    assert server.sent.all()[0]["text"] == "Somebody else decides."


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("image/png", "image"),
        ("audio/mpeg", "audio"),
        ("video/mp4", "video"),
        ("application/json", "document"),
    ],
)
def test_a_file_is_sent_as_what_it_is(
    adapter: WhatsappAdapter, server: FakeWhatsapp, content_type: str, kind: str
) -> None:
    adapter.send_file(CONFIG, BOB, OutgoingFile("it", content_type, b"1234"), "words")
    assert [entry["type"] for entry in server.sent.all()][-1] == kind
    assert "words" in [entry["text"] for entry in server.sent.all()]


@pytest.mark.parametrize(
    ("content_type", "size", "words"),
    [("image/jpeg", 5_000_001, "5,000,000"), ("application/zip", 4, "application/zip")],
)
def test_a_file_that_is_not_taken_says_why(
    adapter: WhatsappAdapter, server: FakeWhatsapp, content_type: str, size: int, words: str
) -> None:
    with pytest.raises(PlatformRefused) as caught:
        adapter.send_file(CONFIG, BOB, OutgoingFile("it", content_type, b"x" * size), "")
    assert words in caught.value.message
    assert server.calls.all() == []


def test_a_file_that_came_is_fetched_within_its_limit(adapter: WhatsappAdapter, server: FakeWhatsapp) -> None:
    ref = server.extras.keep(b"roof" * 100, "image/jpeg")
    assert adapter.fetch_file(CONFIG, ref, 400) == b"roof" * 100
    with pytest.raises(FileTooLarge):
        adapter.fetch_file(CONFIG, ref, 399)


@pytest.mark.parametrize(
    "url",
    [
        "http://lookaside.fbsbx.com/x",
        "https://evil.example/x",
        "https://fbsbx.com.evil.example/x",
        "",
        "file:///x",
    ],
)
def test_the_token_goes_to_no_other_host(adapter: WhatsappAdapter, server: FakeWhatsapp, url: str) -> None:
    ref = server.extras.keep(b"x", "image/jpeg")
    server.extras.kept[ref]["url"] = url or "nowhere"
    with pytest.raises(PlatformRefused):
        adapter.fetch_file(CONFIG, ref, 400)


def test_a_file_id_is_no_path(adapter: WhatsappAdapter, server: FakeWhatsapp) -> None:
    with pytest.raises(PlatformRefused):
        adapter.fetch_file(CONFIG, "../me", 400)
    assert server.calls.all() == []
