"""What becomes of Telegram's updates."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from services.adapters.chat.telegram import inbound
from services.adapters.chat.telegram.config import TelegramConfig
from services.adapters.chat.telegram.tests import payloads
from services.adapters.chat.telegram.tests.payloads import (
    BOB,
    BOT,
    CONFIG,
    FORUM,
    GROUP,
    PRIVATE,
    mention,
    update,
)
from services.domain.errors import HookUnverified, MalformedBody
from services.domain.ports.chat import ChatKind, InboundMessage, Place, Sender


def _message(body: dict[str, Any], config: TelegramConfig = CONFIG) -> InboundMessage:
    (message,) = inbound.parse(config, payloads.hook(body)).messages
    return message


def _reason(body: dict[str, Any]) -> str | None:
    parsed = inbound.parse(CONFIG, payloads.hook(body))
    assert parsed.messages == ()
    return parsed.ignored


def test_a_private_message_is_read_whole() -> None:
    message = _message(payloads.PRIVATE_TEXT)
    assert message.place == Place("501")
    assert message.chat_kind is ChatKind.DIRECT
    assert message.chat_title == "Bob Builder"
    assert message.sender == Sender("501", "Bob Builder")
    assert message.message_id == "77"
    assert message.sent_at == datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
    assert message.dedupe_key == "623456789:501:77"
    assert message.raw == payloads.PRIVATE_TEXT


def test_a_group_message_without_a_name_is_not_a_mention() -> None:
    message = _message(update(GROUP, text="Lunch?"))
    assert message.chat_kind is ChatKind.GROUP
    assert message.chat_title == "Acme crew"
    assert message.place == Place("-1001234567890")
    assert not message.is_mention


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("@slipway_bot build it", "build it"),
        ("please @slipway_bot build it", "please build it"),
        ("😀🎉 @slipway_bot build it", "😀🎉 build it"),
        ("build it @slipway_bot", "build it"),
        ("@slipway_bot", "@slipway_bot"),
    ],
)
def test_a_mention_by_name_is_taken_out(text: str, left: str) -> None:
    message = _message(update(GROUP, text=text, entities=mention(text)))
    assert message.is_mention
    assert message.text == left


def test_the_name_counts_in_any_case() -> None:
    text = "@Slipway_Bot hi"
    message = _message(update(GROUP, text=text, entities=mention(text, "@Slipway_Bot")))
    assert (message.is_mention, message.text) == (True, "hi")


def test_another_name_is_no_mention_and_stays() -> None:
    text = "@slipway_bot2 hi"
    message = _message(update(GROUP, text=text, entities=mention(text, "@slipway_bot2")))
    assert (message.is_mention, message.text) == (False, text)


def test_a_mention_without_a_user_name_counts() -> None:
    entities = mention("Slipway hi", "Slipway", "text_mention")
    entities[0]["user"] = BOT
    message = _message(update(GROUP, text="Slipway hi", entities=entities))
    assert (message.is_mention, message.text) == (True, "hi")


def test_a_command_for_the_bot_keeps_the_command() -> None:
    text = "/status@slipway_bot now"
    message = _message(update(GROUP, text=text, entities=mention(text, "/status@slipway_bot", "bot_command")))
    assert (message.is_mention, message.text) == (True, "/status now")


def test_a_command_for_another_bot_is_no_mention() -> None:
    text = "/status@other_bot now"
    message = _message(update(GROUP, text=text, entities=mention(text, "/status@other_bot", "bot_command")))
    assert (message.is_mention, message.text) == (False, text)


def test_without_a_known_name_replies_still_count() -> None:
    nameless = TelegramConfig(bot_token=CONFIG.bot_token, secret_token=CONFIG.secret_token)
    text = "@slipway_bot hi"
    body = update(GROUP, text=text, entities=mention(text))
    assert not _message(body, nameless).is_mention
    body["message"]["reply_to_message"] = update(GROUP, **{"from": BOT, "text": "Done."})["message"]
    assert _message(body, nameless).is_mention


def test_a_reply_to_the_bot_addresses_it_and_one_to_others_does_not() -> None:
    to_bot = update(GROUP, **{"from": BOT, "text": "Done."})["message"]
    to_bob = update(GROUP, text="Done?")["message"]
    assert _message(update(GROUP, text="Thanks", reply_to_message=to_bot)).is_mention
    assert not _message(update(GROUP, text="Thanks", reply_to_message=to_bob)).is_mention


def test_a_forum_topic_is_the_thread_and_its_opening_is_no_reply() -> None:
    message = _message(
        update(
            FORUM,
            text="Anyone?",
            message_thread_id=12,
            is_topic_message=True,
            reply_to_message=payloads.FORUM_TOPIC_OPENED,
        )
    )
    assert message.place == Place("-1001234567890", "12")
    assert not message.is_mention


def test_a_reply_outside_a_forum_has_no_thread() -> None:
    assert _message(update(GROUP, text="Yes", message_thread_id=70)).place.thread_id is None


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (payloads.PHOTO | {"caption": "our roof"}, "[photo] our roof"),
        (payloads.PHOTO, "[photo]"),
        (payloads.DOCUMENT, "[document: report.pdf]"),
        (payloads.STICKER, "[sticker: 👍]"),
        ({"location": {"latitude": 52.5, "longitude": 13.4}}, "[location: 52.5, 13.4]"),
        ({"voice": {"file_id": "a", "file_unique_id": "b", "duration": 3}}, "[voice]"),
    ],
)
def test_media_are_kept_as_words(fields: dict[str, Any], text: str) -> None:
    assert _message(update(PRIVATE, **fields)).text == text


def test_a_caption_can_mention_the_bot() -> None:
    caption = "what is this, @slipway_bot?"
    message = _message(update(GROUP, **payloads.PHOTO, caption=caption, caption_entities=mention(caption)))
    assert (message.is_mention, message.text) == (True, "[photo] what is this, ?")


def test_an_edit_is_a_change_of_the_message_that_it_edits() -> None:
    original = payloads.PRIVATE_TEXT["message"]
    edited = {"update_id": 5, "edited_message": original | {"edit_date": 1772443900, "text": "now this"}}
    parsed = inbound.parse(CONFIG, payloads.hook(edited))
    (change,) = parsed.changes
    assert (parsed.messages, parsed.ignored) == ((), None)
    assert (change.kind, change.text, change.message_id) == (
        "edited",
        "now this",
        str(original["message_id"]),
    )
    assert change.place == Place(str(original["chat"]["id"]))
    assert change.changed_at.timestamp() == 1772443900


def test_the_bots_own_edits_are_ignored() -> None:
    own = payloads.OWN_MESSAGE["message"] | {"edit_date": 1772443900}
    assert _reason({"update_id": 5, "edited_message": own}) == "own_message"


def test_the_stop_button_of_a_draft_is_a_stop_by_the_chats_person() -> None:
    stopped = {"chat": {"id": 501, "type": "private", "first_name": "Bob"}, "draft_id": 7}
    (stop,) = inbound.parse(
        CONFIG, payloads.hook({"update_id": 8, "stopped_message_generation": stopped})
    ).stops
    assert (stop.place, stop.sender) == (Place("501"), Sender("501", "Bob"))
    with pytest.raises(MalformedBody):
        inbound.parse(CONFIG, payloads.hook({"update_id": 8, "stopped_message_generation": {"chat": 5}}))


def test_other_bots_are_told_from_people() -> None:
    other = {"id": 4, "is_bot": True, "first_name": "Other", "username": "other_bot"}
    assert _message(update(GROUP, **{"from": other, "text": "beep"})).sender == Sender("4", "Other", True)
    assert _reason(payloads.OWN_MESSAGE) == "own_message"


def test_an_anonymous_admin_is_heard_though_a_bot_stands_in() -> None:
    stand_in = {"id": 1087968824, "is_bot": True, "first_name": "Group", "username": "GroupAnonymousBot"}
    message = _message(update(GROUP, **{"from": stand_in, "sender_chat": GROUP, "text": "Deploy"}))
    assert message.sender == Sender("-1001234567890", "Acme crew")


def test_a_channel_post_is_heard() -> None:
    channel = {"id": -1009876543210, "title": "News", "type": "channel"}
    post = {"message_id": 3, "sender_chat": channel, "chat": channel, "date": 1772443800, "text": "Out now"}
    message = _message({"update_id": 8, "channel_post": post})
    assert message.chat_kind is ChatKind.CHANNEL
    assert message.sender == Sender("-1009876543210", "News")


@pytest.mark.parametrize(
    "fields",
    [
        {"new_chat_members": [BOB]},
        {"group_chat_created": True},
        {"migrate_to_chat_id": -1001},
        {"text": "  "},
    ],
)
def test_messages_without_words_are_ignored_with_a_reason(fields: dict[str, Any]) -> None:
    assert _reason(update(GROUP, **fields)) == "no_text"


def test_without_a_chosen_secret_the_derived_one_is_expected() -> None:
    config = TelegramConfig(bot_token=CONFIG.bot_token)
    inbound.verify(config, payloads.hook(b"{}", secret=config.hook_secret))
    other = TelegramConfig(bot_token=SecretStr("110201543:another"))
    with pytest.raises(HookUnverified):
        inbound.verify(other, payloads.hook(b"{}", secret=config.hook_secret))
