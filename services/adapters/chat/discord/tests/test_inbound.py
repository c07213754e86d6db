"""What becomes of what Discord sends."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from services.adapters.chat.discord import interactions, messages
from services.adapters.chat.discord.tests import payloads
from services.adapters.chat.discord.tests.payloads import CONFIG, MESSAGE_ID, NOW
from services.adapters.chat.discord.wire import Channel
from services.domain.errors import HookUnverified, MalformedBody
from services.domain.ports.chat import (
    ChangeKind,
    ChatKind,
    InboundFile,
    InboundMessage,
    Parsed,
    Place,
    Sender,
)
from tests.fakes.discord_server import BOB, BOB_ID, BOT, BOT_ID, CHANNEL_ID, DIRECT_ID, GUILD_ID

GENERAL = Channel(id=CHANNEL_ID, type=0, name="general")
THREAD = Channel(id="840000000000000001", type=11, name="a thread", parent_id=CHANNEL_ID)


def _message(channel: Channel | None = GENERAL, **fields: Any) -> InboundMessage:
    (found,) = messages.read_message(CONFIG, payloads.message(**fields), channel).messages
    return found


def _reply(parsed: Parsed) -> dict[str, Any]:
    assert parsed.reply is not None
    answer: dict[str, Any] = json.loads(parsed.reply.body)
    return answer


# --- Interactions ----------------------------------------------------------------------------------------


def test_a_ping_is_answered() -> None:
    parsed = interactions.parse(CONFIG, payloads.hook({"type": 1, "id": "1", "application_id": BOT_ID}))
    assert _reply(parsed) == {"type": 1}
    assert parsed.ignored == "ping"
    assert parsed.messages == ()


def test_the_command_is_a_message_and_is_shown_to_all() -> None:
    parsed = interactions.parse(CONFIG, payloads.hook(payloads.DIRECT))
    (found,) = parsed.messages
    assert (found.text, found.is_mention, found.chat_kind) == ("What is the weather?", True, ChatKind.DIRECT)
    assert found.place == Place(DIRECT_ID)
    assert found.sender == Sender(BOB_ID, "Bob")
    assert found.sent_at == datetime(2026, 3, 2, 9, 30, 0, 123000, tzinfo=UTC)
    assert "token" not in found.raw
    answer = _reply(parsed)
    assert answer["type"] == 4
    assert answer["data"] == {"content": "What is the weather?", "allowed_mentions": {"parse": []}}


@pytest.mark.parametrize(
    ("channel", "place"),
    [
        ({"id": CHANNEL_ID, "type": 0, "name": "general"}, Place(CHANNEL_ID)),
        (
            {"id": CHANNEL_ID, "type": 11, "parent_id": "850000000000000001"},
            Place("850000000000000001", CHANNEL_ID),
        ),
        (None, Place(CHANNEL_ID)),
    ],
)
def test_an_interaction_belongs_to_its_channel_or_thread(
    channel: dict[str, Any] | None, place: Place
) -> None:
    given: dict[str, Any] = {"channel_id": CHANNEL_ID, "channel": channel, "guild_id": GUILD_ID}
    (command,) = interactions.read(CONFIG, payloads.interaction(**given)).messages
    (press,) = interactions.read(CONFIG, payloads.press(**given)).presses
    assert command.place == press.place == place
    assert command.chat_kind is ChatKind.CHANNEL


def test_a_press_brings_what_it_needs_to_be_answered_and_is_acknowledged() -> None:
    parsed = interactions.read(CONFIG, payloads.press())
    (press,) = parsed.presses
    assert press.value == "q:1:0"
    assert press.message_id == "830000000000000001"
    assert press.sender == Sender(BOB_ID, "Bobby")
    assert press.press_ref == f"{BOT_ID}:aW50ZXJhY3Rpb246dG9rZW4"
    assert _reply(parsed) == {"type": 6}


@pytest.mark.parametrize(
    "raw",
    [
        payloads.interaction(4),
        payloads.interaction(5),
        payloads.interaction(data={"type": 1}),
        payloads.press(data={"custom_id": "x", "component_type": 3}),
        payloads.press(message=None),
        payloads.interaction(channel_id=None),
        payloads.interaction(user=None),
    ],
)
def test_interactions_that_are_not_ours_are_ignored(raw: dict[str, Any]) -> None:
    assert interactions.read(CONFIG, raw) == Parsed(ignored="unknown_type")


@pytest.mark.parametrize("value", ["", "   ", 5, None])
def test_a_command_without_words_is_ignored(value: Any) -> None:
    data = {"name": "ask", "options": [{"name": "text", "type": 3, "value": value}]}
    assert interactions.read(CONFIG, payloads.interaction(data=data)) == Parsed(ignored="no_text")


def test_one_of_our_commands_is_as_if_it_had_been_written() -> None:
    option = {"name": "text", "type": 3, "value": "ABCD2345"}
    for options, text in (([], "/help"), ([option], "/help ABCD2345")):
        raw = payloads.interaction(data={"name": "help", "type": 1, "options": options})
        (message,) = interactions.read(CONFIG, raw).messages
        assert message.text == text


def test_without_a_public_key_no_call_verifies() -> None:
    keyless = CONFIG.model_copy(update={"public_key": None})
    with pytest.raises(HookUnverified):
        interactions.verify(keyless, payloads.hook(payloads.DIRECT))


def test_a_signature_is_good_for_five_minutes() -> None:
    for age_s in (-300, 0, 300):
        interactions.verify(CONFIG, payloads.hook(payloads.DIRECT, age_s=age_s))


# --- Messages --------------------------------------------------------------------------------------------


def test_a_channel_message_is_read_whole_and_may_open_a_thread() -> None:
    found = _message()
    assert found.place == Place(CHANNEL_ID, MESSAGE_ID)
    assert (found.chat_kind, found.chat_title) == (ChatKind.CHANNEL, "general")
    assert found.sender == Sender(BOB_ID, "Bob")
    assert (found.text, found.is_mention, found.message_id) == ("hello", False, MESSAGE_ID)
    assert found.dedupe_key == f"message:{MESSAGE_ID}"


def test_a_message_in_a_thread_stays_in_it() -> None:
    found = _message(THREAD, channel_id=THREAD.id)
    assert found.place == Place(CHANNEL_ID, THREAD.id)


def test_a_direct_message_is_for_the_bot_and_has_no_thread() -> None:
    found = _message(None, guild_id=None, channel_id=DIRECT_ID)
    assert found.place == Place(DIRECT_ID)
    assert (found.chat_kind, found.chat_title, found.is_mention) == (ChatKind.DIRECT, "Bob", True)


@pytest.mark.parametrize(
    ("text", "shown", "is_mention"),
    [
        (f"<@{BOT_ID}> build it", "build it", True),
        (f"hey <@!{BOT_ID}> build", "hey build", True),
        (f"<@{BOT_ID}>", "@slipway", True),
        (f"ask <@{BOB_ID}> in <#123>", "ask @Bob in #123", False),
        ("well <:done:123> and <a:party:9>", "well :done: and :party:", False),
        ("\\o/", "\\o/", False),
    ],
)
def test_mentions_and_emoji_read_as_people_see_them(text: str, shown: str, is_mention: bool) -> None:
    named = [user for user in (BOT, BOB) if user["id"] in text]
    found = _message(content=text, mentions=named)
    assert (found.text, found.is_mention) == (shown, is_mention)


def test_an_answer_to_the_bot_is_for_the_bot() -> None:
    answered = {"id": "830000000000000001", "author": BOT}
    found = _message(
        type=19, referenced_message=answered, message_reference={"message_id": "830000000000000001"}
    )
    assert found.is_mention
    assert found.reply_to == "830000000000000001"


def test_files_and_stickers_are_named_and_files_can_be_asked_for() -> None:
    file = {"id": "5", "filename": "report.pdf", "content_type": "application/pdf", "size": 9}
    found = _message(attachments=[file], sticker_items=[{"name": "wave"}], content="see", flags=1 << 13)
    assert found.text == "[file: report.pdf] [sticker: wave] see"
    assert found.files == (
        InboundFile(f"{CHANNEL_ID}/{MESSAGE_ID}/5", "report.pdf", "application/pdf", 9, is_voice=True),
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"author": BOT}, "own_message"),
        ({"type": 7}, "unknown_type"),
        ({"type": 18}, "unknown_type"),
        ({"content": "  "}, "no_text"),
    ],
)
def test_what_is_not_a_persons_message_is_ignored_with_a_reason(fields: dict[str, Any], reason: str) -> None:
    assert messages.read_message(CONFIG, payloads.message(**fields), GENERAL) == Parsed(ignored=reason)


def test_other_bots_and_webhooks_are_told_from_people() -> None:
    other = {"id": "750000000000000001", "username": "other", "bot": True}
    assert _message(author=other).sender.is_bot
    assert _message(webhook_id="1").sender.is_bot
    assert not _message().sender.is_bot


def test_a_change_by_a_person_is_read_and_one_by_a_preview_is_not() -> None:
    edited = payloads.message(content="hello again", edited_timestamp="2026-03-02T09:31:00.000000+00:00")
    (change,) = messages.read_edit(CONFIG, edited, GENERAL).changes
    assert (change.kind, change.text, change.message_id) == (ChangeKind.EDITED, "hello again", MESSAGE_ID)
    assert change.changed_at == datetime(2026, 3, 2, 9, 31, tzinfo=UTC)
    assert change.place == Place(CHANNEL_ID, MESSAGE_ID)
    assert messages.read_edit(CONFIG, payloads.message(), GENERAL) == Parsed(ignored="not_edited")
    with pytest.raises(MalformedBody):
        messages.read_edit(CONFIG, payloads.message(edited_timestamp="soon"), GENERAL)


def test_deletions_are_read_one_or_many() -> None:
    one = messages.read_deletion({"id": "5", "channel_id": CHANNEL_ID}, GENERAL, NOW).changes
    many = messages.read_deletion({"ids": ["5", "6"], "channel_id": CHANNEL_ID}, GENERAL, NOW).changes
    assert [(change.kind, change.message_id) for change in one] == [(ChangeKind.DELETED, "5")]
    assert [change.dedupe_key for change in many] == ["delete:5", "delete:6"]


@pytest.mark.parametrize(
    "fields",
    [{"id": "x"}, {"id": 5}, {"author": None}, {"channel_id": None}, {"content": 5}, {"attachments": [1]}],
)
def test_a_message_that_lacks_what_each_has_is_malformed(fields: dict[str, Any]) -> None:
    raw = payloads.message() | fields
    for read in (messages.read_message, messages.read_edit):
        with pytest.raises(MalformedBody):
            read(CONFIG, raw, GENERAL)
