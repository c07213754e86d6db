"""What holds for every ability that a chat platform has. Which it has is read from its methods."""

from __future__ import annotations

import importlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.adapters.chat.cards import render_card
from services.adapters.chat.registry import build_adapters, find_adapter, list_adapters
from services.adapters.chat.tests.case import AdapterCase, ShowsFiles, settings_of
from services.adapters.chat.tests.texts import HOSTILE
from services.domain.errors import PlatformAway, PlatformRefused, PlatformThrottled
from services.domain.ports.chat import ChatAdapter, ChatKind, Place
from services.domain.ports.chat_abilities import (
    BeginsChats,
    Button,
    CommandHint,
    Deletes,
    Edits,
    FindsSent,
    FindsSentCards,
    HasButtons,
    LooksBack,
    OutgoingFile,
    Reacts,
    ReportsKeys,
    SendsFiles,
    SendsOnce,
    ShowsCommands,
    Streams,
)

# Of rooms, which are no platform outside, the same is asked in `tests/domain/test_rooms.py`.
KINDS = [adapter.manifest.kind for adapter in list_adapters() if not adapter.manifest.is_own]
FILE = OutgoingFile("täble (1).csv", "text/csv", b"a,b\n" * 1_000)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def case(kind: str) -> AdapterCase:
    module = importlib.import_module(f"services.adapters.chat.{kind}.tests.conformance")
    found: AdapterCase = module.CASE
    return found


@pytest.fixture
def platform(case: AdapterCase) -> Iterator[Any]:
    with case.running() as running:
        yield running


@pytest.fixture
def linked(kind: str, case: AdapterCase, platform: Any) -> ChatAdapter:
    found = find_adapter(kind)
    assert found is not None
    return build_adapters(settings_of(case, **{found.base_setting: platform.base_url()}))[kind]


def having(adapter: ChatAdapter, ability: type) -> Any:
    if not isinstance(adapter, ability):
        pytest.skip(f"{adapter.manifest.label} does not have this")
    return adapter


def sent(adapter: ChatAdapter, case: AdapterCase, text: str = "hello") -> str:
    return adapter.send(case.config, case.place, text).message_id


def test_an_edited_message_shows_the_new_text_and_the_same_again_is_fine(
    linked: ChatAdapter, case: AdapterCase, platform: Any
) -> None:
    adapter = having(linked, Edits)
    message_id = sent(linked, case)
    (part,) = linked.render("**new** & better")
    for _ in range(2):
        adapter.edit(case.config, case.place, message_id, part)
    assert [text.replace("*", "") for text in platform.sent_texts()] == ["new & better"]


def test_a_message_that_is_not_there_cannot_be_edited(linked: ChatAdapter, case: AdapterCase) -> None:
    with pytest.raises(PlatformRefused):
        having(linked, Edits).edit(case.config, case.place, "1772443800.999999", "x")


def test_a_deleted_message_is_gone_and_deleting_it_again_is_fine(
    linked: ChatAdapter, case: AdapterCase
) -> None:
    adapter = having(linked, Deletes)
    message_id = sent(linked, case)
    for _ in range(2):
        adapter.delete(case.config, case.place, message_id)
    with pytest.raises(PlatformRefused):
        having(linked, Edits).edit(case.config, case.place, message_id, "x")


def test_a_reaction_is_added_and_the_same_again_is_fine(linked: ChatAdapter, case: AdapterCase) -> None:
    adapter = having(linked, Reacts)
    message_id = sent(linked, case)
    names = [adapter.find_emoji(emoji) for emoji in ("👍", "thumbsup", ":tada:", "❤️")]
    assert names[0] and names[0] == names[1] and names[3]
    for name in filter(None, names):
        for _ in range(2):
            adapter.react(case.config, case.place, message_id, name)
    assert adapter.find_emoji("no emoji at all") is None
    assert adapter.find_emoji("") is None


def test_a_file_arrives_with_its_name_and_bytes(
    linked: ChatAdapter, case: AdapterCase, platform: Any
) -> None:
    adapter = having(linked, SendsFiles)
    (caption,) = linked.render("The *table* & more")
    for words in (caption, ""):
        assert adapter.send_file(case.config, case.place, FILE, words).message_id
    assert _sent_files(platform) == [(FILE.name, FILE.data)] * 2
    assert adapter.max_file_bytes > 1_000_000
    assert adapter.max_caption > 100


def _sent_files(platform: Any) -> list[tuple[str, bytes]]:
    if isinstance(platform, ShowsFiles):
        return platform.sent_files()
    return [(entry["name"], entry["data"]) for entry in platform.server.extras.files.all()]


@pytest.mark.parametrize("text", [HOSTILE[0], HOSTILE[-1], "plain"], ids=["first", "last", "plain"])
def test_a_card_is_taken_with_as_many_buttons_as_there_may_be(
    linked: ChatAdapter, case: AdapterCase, platform: Any, text: str
) -> None:
    adapter = having(linked, HasButtons)
    limits = adapter.button_limits
    buttons = [
        Button("x" * limits.label_chars, value=str(number).zfill(min(limits.value_bytes, 64)))
        for number in range(limits.buttons - 1)
    ]
    card = render_card(linked, text, [*buttons, Button("Open", url="https://example.org/")])
    assert len(card.buttons) == limits.buttons
    assert adapter.send_card(case.config, case.place, card.parts[-1], card.buttons).message_id
    assert len(platform.sent_texts()) == 1
    assert limits.source.startswith("https://")


def test_what_no_button_can_hold_is_numbered_in_the_text(linked: ChatAdapter, case: AdapterCase) -> None:
    adapter = having(linked, HasButtons)
    limits = adapter.button_limits
    too_many = [Button(f"choice {number}", str(number)) for number in range(limits.buttons + 1)]
    card = render_card(linked, "Which?", too_many, hint="Reply with the number.")
    assert card.buttons == []
    assert "choice 3" in card.parts[0]
    assert "Reply with the number." in card.parts[-1]
    long = render_card(linked, "Which?", [Button("y" * (limits.label_chars + 5), "1"), Button("no", "2")])
    assert [len(button.label) <= limits.label_chars for button in long.buttons] == [True, True]
    assert "y" * (limits.label_chars + 5) in case.check_markup(long.parts[0])
    too_much = render_card(linked, "Which?", [Button("a", "v" * (limits.value_bytes + 1))])
    assert too_much.buttons == []


def test_a_press_that_is_too_old_to_be_answered_is_no_error(linked: ChatAdapter, case: AdapterCase) -> None:
    adapter = having(linked, HasButtons)
    for is_refusal in (True, False):
        adapter.answer_press(case.config, case.place, "1", "U0002BOB", "x" * 500, is_refusal=is_refusal)


def test_a_platform_that_takes_our_key_makes_one_message_under_it(
    linked: ChatAdapter, case: AdapterCase, platform: Any
) -> None:
    adapter = having(linked, SendsOnce)
    first = adapter.send_once(case.config, case.place, "hello", "key " * 30)
    assert adapter.send_once(case.config, case.place, "hello", "key " * 30) == first
    assert adapter.send_once(case.config, case.place, "hello", "other", [Button("a", "b")]) != first
    assert platform.sent_texts() == ["hello", "hello"]


def test_a_platform_that_keeps_our_key_finds_what_was_sent_and_nothing_else(
    linked: ChatAdapter, case: AdapterCase
) -> None:
    adapter = having(linked, FindsSent)
    assert adapter.find_sent(case.config, case.place, "one") is None
    first = adapter.send_with_key(case.config, case.place, "hello", "one")
    assert adapter.find_sent(case.config, case.place, "one") == first
    if isinstance(adapter, FindsSentCards):
        card = adapter.send_card_with_key(case.config, case.place, "hello", [Button("a", "b")], "two")
        assert adapter.find_sent(case.config, case.place, "two") == card
    assert adapter.find_sent(case.config, case.place, "three") is None
    assert adapter.find_sent(case.config, Place("no such chat"), "one") is None


def test_a_platform_that_can_be_looked_back_on_shows_our_message_and_no_other(
    linked: ChatAdapter, case: AdapterCase, platform: Any
) -> None:
    adapter = having(linked, LooksBack)
    place, since = getattr(case, "look_place", case.place), datetime.now(UTC) - timedelta(seconds=1)
    (part,) = linked.render("**hello** & more")
    assert adapter.list_sent(case.config, place, part, since) == []
    first, second = (linked.send(case.config, place, part).message_id for _ in range(2))
    linked.send(case.config, place, "hello")
    assert adapter.list_sent(case.config, place, part, since) == [first, second]
    assert adapter.list_sent(case.config, place, part, datetime.now(UTC) + timedelta(minutes=1)) == []
    platform.fail_next("throttle", retry_after_s=17)
    with pytest.raises(PlatformThrottled):
        adapter.list_sent(case.config, place, part, since)


def test_a_platform_that_reports_our_key_takes_it_with_texts_and_cards(
    linked: ChatAdapter, case: Any, platform: Any
) -> None:
    adapter = having(linked, ReportsKeys)
    sent_ids = [
        adapter.send_reported(case.config, case.place, "hello", "key " * 30).message_id,
        adapter.send_reported(case.config, case.place, "hello", "other", [Button("a", "b")]).message_id,
    ]
    calls = [json.dumps(platform.server.status_of(sent_id, "sent")).encode() for sent_id in sent_ids]
    read = [linked.parse(case.config, case.hook(call, datetime.now(UTC))).reports for call in calls]
    assert [[(one.message_id, one.key) for one in reports] for reports in read] == [
        [(sent_ids[0], "key " * 30)],
        [(sent_ids[1], "other")],
    ]


def patiently(call: Callable[[], Any]) -> Any:
    """Make a call when the platform takes it: streams are held to one in so many seconds."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return call()
        except PlatformThrottled:
            assert time.monotonic() < deadline
            threading.Event().wait(0.1)


def test_a_stream_grows_and_leaves_the_true_text_in_its_place(
    linked: ChatAdapter, case: AdapterCase, platform: Any
) -> None:
    adapter = having(linked, Streams)
    place = getattr(case, "stream_place", case.place)
    limits = next(found for kind in ChatKind if (found := adapter.stream_limits(place, kind)) is not None)
    assert limits.min_interval_s > 0
    assert limits.max_text <= linked.manifest.max_text
    assert limits.source
    stream = adapter.open_stream(case.config, place)
    longer = "Hello `x < y` and "
    patiently(lambda: adapter.show_stream(case.config, place, stream, "", "Hello "))
    patiently(lambda: adapter.show_stream(case.config, place, stream, "Hello ", longer))
    (part,) = linked.render("Hello **world** & all")
    receipt = patiently(lambda: adapter.close_stream(case.config, place, stream, longer, part, "key"))
    assert platform.sent_texts()[-1].replace("*", "") == "Hello world & all"
    if isinstance(linked, Edits):
        (better,) = linked.render("Better")
        linked.edit(case.config, place, receipt.message_id, better)
        assert platform.sent_texts()[-1] == "Better"


def test_a_direct_chat_is_begun_once_and_takes_messages(
    linked: ChatAdapter, case: Any, platform: Any
) -> None:
    adapter = having(linked, BeginsChats)
    assert adapter.person_hint
    first = adapter.open_direct(case.config, case.person, [case.place])
    assert first.chat_id
    greeted = len(platform.sent_texts())
    assert adapter.open_direct(case.config, case.person, [case.place]) == first
    assert linked.send(case.config, first, "hello").message_id
    assert len(platform.sent_texts()) == greeted + 1


def test_a_chat_with_nobody_cannot_be_begun(linked: ChatAdapter, case: Any) -> None:
    adapter = having(linked, BeginsChats)
    for person in (case.stranger, "../x", ""):
        with pytest.raises(PlatformRefused):
            adapter.open_direct(case.config, person, [case.place])


def test_the_commands_are_shown_in_place_of_those_before(linked: ChatAdapter, case: AdapterCase) -> None:
    adapter = having(linked, ShowsCommands)
    hints = [
        CommandHint("help", "List what I understand"),
        CommandHint("schedule", "x" * 300, usage="[<when> <what> | remove <code>]"),
    ]
    for _ in range(2):
        adapter.show_commands(case.config, hints)


def person_of(case: Any) -> str:
    """Return somebody with whom a platform's bot can begin a chat."""
    return str(case.person)


CALLS: dict[str, tuple[type, Callable[[Any, AdapterCase, str], Any]]] = {
    "edit": (Edits, lambda adapter, case, ref: adapter.edit(case.config, case.place, ref, "new")),
    "delete": (Deletes, lambda adapter, case, ref: adapter.delete(case.config, case.place, ref)),
    "react": (
        Reacts,
        lambda adapter, case, ref: adapter.react(case.config, case.place, ref, adapter.find_emoji("👍")),
    ),
    "file": (SendsFiles, lambda adapter, case, ref: adapter.send_file(case.config, case.place, FILE, "")),
    "open": (
        BeginsChats,
        lambda adapter, case, ref: adapter.open_direct(case.config, person_of(case), [case.place]),
    ),
    "commands": (
        ShowsCommands,
        lambda adapter, case, ref: adapter.show_commands(case.config, [CommandHint("help", "Help")]),
    ),
    "card": (
        HasButtons,
        lambda adapter, case, ref: adapter.send_card(case.config, case.place, "x", [Button("a", "b")]),
    ),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("throttle", PlatformThrottled),
        ("forbid", PlatformRefused),
        ("error", PlatformAway),
        ("drop", PlatformAway),
    ],
)
def test_each_ability_says_what_went_wrong_as_sending_does(
    linked: ChatAdapter,
    case: AdapterCase,
    platform: Any,
    kind: str,
    call: str,
    how: str,
    error: Any,
) -> None:
    ability, make = CALLS[call]
    adapter = having(linked, ability)
    message_id = sent(linked, case)
    platform.fail_next(how, retry_after_s=17)
    with pytest.raises(error) as caught:
        make(adapter, case, message_id)
    told = f"{caught.value.message}{caught.value.details}"
    for secret in case.config.revealed().values():
        assert len(str(secret)) < 12 or str(secret) not in told
    if how == "throttle":
        assert caught.value.retry_after_s == 17
