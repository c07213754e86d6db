"""What becomes of Slack's events."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from services.adapters.chat.slack import inbound
from services.adapters.chat.slack.config import SlackConfig
from services.adapters.chat.slack.tests import payloads
from services.adapters.chat.slack.tests.payloads import CONFIG, event
from services.domain.errors import MalformedBody
from services.domain.ports.chat import (
    ChatKind,
    HookReply,
    InboundChange,
    InboundMessage,
    Parsed,
    Place,
    Sender,
)
from tests.fakes.slack_server import BOT_USER_ID, TEAM_ID


def _message(body: dict[str, Any], config: SlackConfig = CONFIG) -> InboundMessage:
    (message,) = inbound.parse(config, payloads.hook(body)).messages
    return message


def test_a_channel_message_is_read_whole() -> None:
    message = _message(event())
    assert message.place == Place("C0123ABCD", "1772443800.000200")
    assert message.chat_kind is ChatKind.CHANNEL
    assert message.sender == Sender("U0002BOB", "U0002BOB")
    assert message.message_id == "1772443800.000200"
    assert message.sent_at == datetime(2026, 3, 2, 9, 30, 0, 200, tzinfo=UTC)
    assert message.dedupe_key == f"{TEAM_ID}:C0123ABCD:1772443800.000200"
    assert not message.is_mention
    assert message.raw == event()


def test_a_message_in_a_thread_stays_in_it() -> None:
    assert _message(event(thread_ts="1772440000.000100")).place.thread_id == "1772440000.000100"


@pytest.mark.parametrize(
    ("channel", "channel_type", "kind", "is_threaded"),
    [
        ("D0123ABCD", "im", ChatKind.DIRECT, False),
        ("G0123ABCD", "mpim", ChatKind.GROUP, False),
        ("C0123ABCD", "group", ChatKind.CHANNEL, True),
        ("C0123ABCD", "channel", ChatKind.CHANNEL, True),
        ("D0123ABCD", None, ChatKind.DIRECT, False),
    ],
)
def test_only_channels_open_threads(
    channel: str, channel_type: str | None, kind: ChatKind, is_threaded: bool
) -> None:
    message = _message(event(channel=channel, channel_type=channel_type))
    assert message.chat_kind is kind
    assert (message.place.thread_id is not None) is is_threaded


def test_the_twins_of_one_post_have_one_key_and_say_the_same() -> None:
    text = f"<@{BOT_USER_ID}> build it"
    as_message = event(text=text)
    as_mention = event(text=text, type="app_mention", channel_type=None) | {"event_id": "Ev99"}
    one, other = _message(as_message), _message(as_mention)
    assert one.dedupe_key == other.dedupe_key
    assert (one.text, one.is_mention, one.place) == (other.text, other.is_mention, other.place)
    assert (one.text, one.is_mention) == ("build it", True)


def test_the_bot_is_known_from_the_call_when_the_link_does_not_know_it() -> None:
    nameless = SlackConfig(bot_token=CONFIG.bot_token, signing_secret=CONFIG.signing_secret)
    message = _message(event(text=f"hey <@{BOT_USER_ID}>, build"), nameless)
    assert (message.text, message.is_mention) == ("hey build", True)


def test_a_mention_alone_still_says_something() -> None:
    message = _message(event(text=f"<@{BOT_USER_ID}>"))
    assert (message.text, message.is_mention) == (f"@{BOT_USER_ID}", True)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a &lt; b &amp;&amp; c &gt; d", "a < b && c > d"),
        ("&amp;lt;", "&lt;"),
        ("<https://e.com/?a=1&amp;b=2>", "https://e.com/?a=1&b=2"),
        ("<https://e.com|our site>", "our site (https://e.com)"),
        ("<https://e.com|https://e.com>", "https://e.com"),
        ("<mailto:bob@e.com|bob@e.com>", "bob@e.com"),
        ("ask <@U0009CAT|carol> in <#C0009GEN|general>", "ask @carol in #general"),
        ("ask <@U0009CAT>", "ask @U0009CAT"),
        ("<!here> <!subteam^S01|@ops> <!channel>", "@here @ops @channel"),
        ("<!date^1772443800^{date}|2 March>", "2 March"),
    ],
)
def test_references_and_escapes_read_as_people_see_them(text: str, shown: str) -> None:
    assert _message(event(text=text)).text == shown


def test_files_are_kept_as_words() -> None:
    files = [{"id": "F1", "name": "report.pdf"}, {"id": "F2", "mode": "hidden_by_limit"}]
    message = _message(event(subtype="file_share", files=files, text="see"))
    assert message.text == "[file: report.pdf] [file: unnamed] see"


def test_a_thread_answer_sent_to_the_channel_too_is_kept() -> None:
    message = _message(event(subtype="thread_broadcast", thread_ts="1772440000.000100"))
    assert message.place.thread_id == "1772440000.000100"


def test_a_name_in_the_profile_is_shown() -> None:
    assert _message(event(user_profile={"real_name": "Bob B"})).sender.display_name == "Bob B"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"subtype": "channel_join"}, "unknown_type"),
        ({"user": BOT_USER_ID, "bot_id": "B0001SLIP"}, "own_message"),
        ({"app_id": "A0001SLIP", "bot_id": "B0001SLIP", "user": "U9"}, "own_message"),
        ({"type": "reaction_added"}, "unknown_type"),
        ({"text": ""}, "no_text"),
    ],
)
def test_what_is_not_a_persons_message_is_ignored_with_a_reason(fields: dict[str, Any], reason: str) -> None:
    assert inbound.parse(CONFIG, payloads.hook(event(**fields))) == Parsed(ignored=reason)


@pytest.mark.parametrize("fields", [{"subtype": "bot_message", "user": None}, {"user": "U7"}])
def test_other_bots_are_told_from_people(fields: dict[str, Any]) -> None:
    message = _message(event(bot_id="B9", username="Builds", **fields))
    assert message.sender == Sender(fields["user"] or "B9", "Builds", is_bot=True)


def _change(**fields: Any) -> InboundChange:
    (change,) = inbound.parse(CONFIG, payloads.hook(event(user=None, text=None, **fields))).changes
    return change


POST = {"user": "U2", "text": f"<@{BOT_USER_ID}> now this", "ts": "1772440000.000100"}


def test_an_edit_is_a_change_of_the_message_that_it_edits() -> None:
    change = _change(subtype="message_changed", message=POST, previous_message=POST | {"text": "before"})
    assert (change.kind, change.text, change.message_id) == ("edited", "now this", POST["ts"])
    assert change.sender.platform_id == "U2"
    assert change.place.thread_id == POST["ts"]


def test_a_deletion_names_the_message_that_is_gone() -> None:
    gone = POST | {"thread_ts": "1772430000.000100"}
    change = _change(subtype="message_deleted", deleted_ts=POST["ts"], previous_message=gone)
    assert (change.kind, change.text, change.message_id) == ("deleted", "", POST["ts"])
    assert change.place.thread_id == "1772430000.000100"


def test_what_is_left_of_a_deleted_message_with_replies_is_its_deletion() -> None:
    left = {
        "subtype": "tombstone",
        "user": "USLACKBOT",
        "text": "This message was deleted.",
        "ts": POST["ts"],
    }
    change = _change(subtype="message_changed", message=left, previous_message=POST)
    assert (change.kind, change.message_id, change.sender.platform_id) == ("deleted", POST["ts"], "U2")


@pytest.mark.parametrize("subtype", ["message_changed", "message_deleted"])
def test_changes_of_the_bots_own_messages_are_ignored(subtype: str) -> None:
    own = POST | {"user": BOT_USER_ID, "bot_id": "B0001SLIP"}
    fields = {"subtype": subtype, "message": own, "previous_message": own, "deleted_ts": POST["ts"]}
    parsed = inbound.parse(CONFIG, payloads.hook(event(user=None, text=None, **fields)))
    assert parsed == Parsed(ignored="own_message")


def test_the_stop_button_of_a_session_is_a_stop() -> None:
    fields = {"type": "agent_session_stopped", "user": "U2", "thread_ts": POST["ts"], "text": None}
    (stop,) = inbound.parse(CONFIG, payloads.hook(event(**fields))).stops
    assert (stop.place.thread_id, stop.sender.platform_id) == (POST["ts"], "U2")


def test_the_challenge_is_answered() -> None:
    body = {
        "token": "t",
        "challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkv",
        "type": "url_verification",
    }
    parsed = inbound.parse(CONFIG, payloads.hook(body))
    assert parsed.reply == HookReply(200, "text/plain", str(body["challenge"]).encode())
    assert parsed.messages == ()


def test_forms_and_other_calls_are_ignored() -> None:
    form = payloads.hook(b"payload=%7B%7D", headers={"content-type": "application/x-www-form-urlencoded"})
    assert inbound.parse(CONFIG, form) == Parsed(ignored="unknown_type")
    limited = {"type": "app_rate_limited", "team_id": TEAM_ID, "minute_rate_limited": 1772443800}
    assert inbound.parse(CONFIG, payloads.hook(limited)) == Parsed(ignored="unknown_type")


@pytest.mark.parametrize(
    "fields", [{"user": None}, {"channel": None}, {"ts": "soon"}, {"ts": ""}, {"text": 5}]
)
def test_a_message_that_lacks_what_each_has_is_malformed(fields: dict[str, Any]) -> None:
    with pytest.raises(MalformedBody):
        inbound.parse(CONFIG, payloads.hook(event(**fields)))


def test_a_signature_is_good_for_five_minutes() -> None:
    body = json.dumps(event()).encode()
    for age_s in (-300, 0, 300):
        inbound.verify(CONFIG, payloads.hook(body, age_s=age_s))
