"""What is read of events."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from services.adapters.chat.matrix.config import Invites, MatrixConfig
from services.adapters.chat.matrix.inbound import Room, after_invitation, read_event
from services.domain.ports.chat import ChangeKind, ChatKind, InboundFile, InboundMessage, Parsed, Place

BOT, ALICE, BOB = "@slipway:example.org", "@alice:example.org", "@bob:elsewhere.org"
CONFIG = MatrixConfig(access_token=SecretStr("syt_x"), bot_id=BOT, bot_name="Slipway Bot")
GROUP = Room("!group:example.org", "Ops", {BOT: "Slipway Bot", ALICE: "Alice", BOB: ""})
ALONE = Room("!alone:example.org", "", {BOT: "Slipway Bot", ALICE: "Alice"})


def event(content: dict[str, Any], kind: str = "m.room.message", **fields: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "event_id": "$one",
        "sender": ALICE,
        "origin_server_ts": 1_772_443_800_000,
        "content": content,
    } | fields


def said(text: str, **content: Any) -> dict[str, Any]:
    return event({"msgtype": "m.text", "body": text} | content)


def read(room: Room, given: dict[str, Any]) -> InboundMessage:
    parsed = read_event(CONFIG, room, given)
    assert parsed is not None
    (message,) = parsed.messages
    return message


def test_a_message_in_a_group_is_read_with_its_room_and_author() -> None:
    message = read(GROUP, said("good morning"))
    assert message.place == Place("!group:example.org")
    assert message.chat_kind is ChatKind.GROUP
    assert (message.chat_title, message.sender.display_name) == ("Ops", "Alice")
    assert message.sent_at.isoformat() == "2026-03-02T09:30:00+00:00"
    assert not message.is_mention


def test_who_is_alone_with_the_bot_addresses_it() -> None:
    message = read(ALONE, said("good morning"))
    assert message.chat_kind is ChatKind.DIRECT
    assert message.is_mention
    assert message.chat_title == "Alice"
    opened_for_two = Room("!x:example.org", "", GROUP.members, is_direct=True)
    assert read(opened_for_two, said("hi")).chat_kind is ChatKind.DIRECT


@pytest.mark.parametrize(
    ("content", "text", "is_mention"),
    [
        ({"body": "Slipway Bot: help", "m.mentions": {"user_ids": [BOT]}}, "help", True),
        ({"body": "help", "m.mentions": {"user_ids": [BOT]}}, "help", True),
        ({"body": "Slipway Bot is down", "m.mentions": {}}, "is down", False),
        ({"body": "help", "m.mentions": {"user_ids": [ALICE]}}, "help", False),
        ({"body": "help", "m.mentions": {"user_ids": BOT}}, "help", False),
        ({"body": "slipway bot, help"}, "help", True),
        ({"body": f"{BOT} help"}, "help", True),
        ({"body": "ask slipway bot please"}, "ask slipway bot please", True),
        ({"body": "slipway bottles"}, "slipway bottles", False),
        ({"body": "Slipway Bot", "m.mentions": {"user_ids": [BOT]}}, "Slipway Bot", True),
    ],
)
def test_a_mention_is_what_the_sender_says_else_the_name(
    content: dict[str, Any], text: str, is_mention: bool
) -> None:
    message = read(GROUP, event({"msgtype": "m.text"} | content))
    assert (message.text, message.is_mention) == (text, is_mention)


def test_a_thread_is_a_thread_and_a_reply_says_what_it_answers() -> None:
    in_thread = {
        "m.relates_to": {
            "rel_type": "m.thread",
            "event_id": "$root",
            "is_falling_back": True,
            "m.in_reply_to": {"event_id": "$last"},
        }
    }
    message = read(GROUP, said("more", **in_thread))
    assert (message.place.thread_id, message.reply_to) == ("$root", "$last")
    answered = {"m.relates_to": {"m.in_reply_to": {"event_id": "$asked"}}}
    message = read(GROUP, said("> <@bob:elsewhere.org> one\n> two\n\nyes", **answered))
    assert (message.text, message.place.thread_id, message.reply_to) == ("yes", None, "$asked")
    assert read(GROUP, said("> quoted by hand\n\nyes", **answered)).text == "> quoted by hand\n\nyes"


def test_edits_and_deletions_are_changes() -> None:
    edit = said(
        "* better",
        **{
            "m.new_content": {"msgtype": "m.text", "body": "better"},
            "m.relates_to": {"rel_type": "m.replace", "event_id": "$old"},
        },
    )
    parsed = read_event(CONFIG, GROUP, edit)
    assert parsed is not None
    (change,) = parsed.changes
    assert (change.kind, change.message_id, change.text) == (ChangeKind.EDITED, "$old", "better")
    for redaction in (
        event({"redacts": "$old"}, "m.room.redaction"),
        event({}, "m.room.redaction", redacts="$old"),
    ):
        parsed = read_event(CONFIG, GROUP, redaction)
        assert parsed is not None
        (change,) = parsed.changes
        assert (change.kind, change.message_id, change.text) == (ChangeKind.DELETED, "$old", "")
        assert change.sender.platform_id == ALICE


def test_a_file_comes_with_its_name_size_and_caption() -> None:
    content = {
        "msgtype": "m.image",
        "body": "what is this?",
        "filename": "cat.png",
        "url": "mxc://example.org/abc",
        "info": {"mimetype": "image/png", "size": 12},
    }
    message = read(GROUP, event(content))
    assert message.text == "[file: cat.png] what is this?"
    assert message.files == (InboundFile("mxc://example.org/abc", "cat.png", "image/png", 12),)
    alone = read(
        GROUP,
        event({"msgtype": "m.audio", "body": "a.ogg", "url": "mxc://x/y", "org.matrix.msc3245.voice": {}}),
    )
    assert (alone.text, alone.files[0].name, alone.files[0].is_voice) == ("[file: a.ogg]", "a.ogg", True)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (said("x") | {"sender": BOT}, "own_message"),
        (event({"msgtype": "m.notice", "body": "x"}), "bot_message"),
        (said("x", **{"slipway.bot": True}), "bot_message"),
        (event({}), "deleted_message"),
        (said("  "), "no_text"),
        (event({"ciphertext": "…"}, "m.room.encrypted"), "encrypted_room"),
        (event({"m.relates_to": {}}, "m.reaction"), "reaction"),
        (event({}, "m.sticker"), "unknown_type"),
        (said("x") | {"event_id": "$" + "x" * 200}, "unreadable"),
        (said("x") | {"origin_server_ts": 10**30}, "unreadable"),
        (event({}, "m.room.redaction"), "unreadable"),
    ],
)
def test_what_is_not_kept_has_its_reason(given: dict[str, Any], reason: str) -> None:
    assert read_event(CONFIG, GROUP, given) == Parsed(ignored=reason)


def test_the_state_of_a_room_is_nothing_that_anybody_said() -> None:
    assert read_event(CONFIG, GROUP, event({"name": "x"}, "m.room.name", state_key="")) is None


def test_what_was_said_before_the_invitation_is_not_heard_and_what_came_with_it_is() -> None:
    def member(membership: str, before: str | None = None) -> dict[str, Any]:
        unsigned = {"unsigned": {"prev_content": {"membership": before}}} if before else {}
        return event({"membership": membership}, "m.room.member", state_key=BOT, **unsigned)

    old, hello, after = said("old"), said("hello"), said("after")
    invited = [old, member("invite"), hello, member("join", "invite"), after]
    assert [e for e in after_invitation(CONFIG, invited) if e["type"] == "m.room.message"] == [hello, after]
    came = [old, member("join"), after]
    assert after_invitation(CONFIG, came) == [after]
    assert after_invitation(CONFIG, [old, after]) == [old, after]


def test_invitations_are_followed_as_the_link_says() -> None:
    def follows(invites: Invites) -> list[bool]:
        config = CONFIG.model_copy(update={"invites": invites})
        return [config.is_invited_by(sender) for sender in (ALICE, BOB, "")]

    assert follows(Invites.OWN_SERVER) == [True, False, False]
    assert follows(Invites.EVERYONE) == [True, True, True]
    assert follows(Invites.NOBODY) == [False, False, False]
