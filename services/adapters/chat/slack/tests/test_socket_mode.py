"""Hearing Slack over a connection of ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from services.adapters.chat.slack.adapter import SlackAdapter
from services.adapters.chat.slack.config import SlackConfig
from services.adapters.chat.slack.tests import payloads
from services.adapters.chat.tests.listening import HeldInbox, heard_by
from services.domain.errors import (
    HookUnverified,
    PlatformAway,
    PlatformRefused,
    PlatformThrottled,
    SlipwayError,
)
from services.domain.ports.chat import Place
from services.domain.ports.chat_abilities import Button
from tests.fakes.serving import Fault
from tests.fakes.slack_server import FakeSlack

APP_TOKEN = "xapp-1-A0001SLIP-1-abcdef"
CONFIG = SlackConfig(
    bot_token=payloads.CONFIG.bot_token,
    app_token=SecretStr(APP_TOKEN),
    bot_id=payloads.CONFIG.bot_id,
    bot_name="slipway",
)


@pytest.fixture
def server() -> Iterator[FakeSlack]:
    with FakeSlack(app_tokens=[APP_TOKEN]) as running:
        yield running


@pytest.fixture
def adapter(server: FakeSlack) -> SlackAdapter:
    return SlackAdapter(server.api_base)


@pytest.fixture
def inbox() -> HeldInbox:
    return HeldInbox()


def test_only_an_app_in_socket_mode_is_listened_to(adapter: SlackAdapter) -> None:
    assert adapter.wants_listener(CONFIG)
    assert not adapter.wants_listener(payloads.CONFIG)


def test_a_link_without_a_way_in_is_refused_when_it_is_made() -> None:
    with pytest.raises(ValidationError, match="a signing secret is needed"):
        SlackConfig(bot_token=SecretStr("xoxb-1"))


def test_no_webhook_verifies_where_there_is_no_signing_secret(adapter: SlackAdapter) -> None:
    for secret in ("", payloads.SIGNING_SECRET):
        with pytest.raises(HookUnverified):
            adapter.verify(CONFIG, payloads.hook(payloads.DIRECT, secret=secret))


def test_connecting_checks_the_app_level_token_too(adapter: SlackAdapter) -> None:
    assert adapter.connect(CONFIG, "").platform_id == CONFIG.bot_id
    with pytest.raises(PlatformRefused):
        adapter.connect(CONFIG.model_copy(update={"app_token": SecretStr("xapp-wrong")}), "")


def test_a_message_is_kept_and_then_acknowledged(
    adapter: SlackAdapter, server: FakeSlack, inbox: HeldInbox
) -> None:
    with heard_by(adapter, CONFIG, inbox):
        server.sockets.opened.wait_for(1)
        inbox.hold()
        message = server.message("D0123ABCD", "What is the weather?")
        envelope_id = server.sockets.deliver("events_api", message)
        inbox.wait_for_attempt()
        assert server.sockets.acks.all() == []
        inbox.let_go()
        (ack,) = server.sockets.acks.wait_for(1)
    assert ack["envelope_id"] == envelope_id
    (kept,) = inbox.messages()
    assert (kept.text, kept.is_mention) == ("What is the weather?", True)


def test_what_could_not_be_kept_is_not_acknowledged_and_comes_again(
    adapter: SlackAdapter, server: FakeSlack, inbox: HeldInbox
) -> None:
    inbox.failures = [RuntimeError("the database is away")]
    with pytest.raises(RuntimeError), heard_by(adapter, CONFIG, inbox):
        server.sockets.opened.wait_for(1)
        server.sockets.deliver("events_api", server.message("D0123ABCD", "hello"))
        inbox.wait_for_attempt()
    assert server.sockets.acks.all() == []
    with heard_by(adapter, CONFIG, inbox):
        server.sockets.acks.wait_for(1)
    assert [message.text for message in inbox.messages()] == ["hello"]


def test_a_late_acknowledgement_brings_the_message_again_with_the_same_key(
    adapter: SlackAdapter, server: FakeSlack, inbox: HeldInbox
) -> None:
    server.sockets.ack_within_s = 0.1
    with heard_by(adapter, CONFIG, inbox):
        server.sockets.opened.wait_for(1)
        inbox.hold()
        server.sockets.deliver("events_api", server.message("D0123ABCD", "hello"))
        server.sockets.sent.wait_for(2)
        server.sockets.ack_within_s = 5.0
        inbox.let_go()
        inbox.wait_for_messages(1)
    assert len({message.dedupe_key for message in inbox.messages()}) == 1


def test_a_press_comes_over_the_connection_as_well(
    adapter: SlackAdapter, server: FakeSlack, inbox: HeldInbox
) -> None:
    adapter.send_card(CONFIG, Place("C0123ABCD"), "Which?", [Button("Yes", "q:1:0")])
    message = server.sent.all()[0]["message"]
    with heard_by(adapter, CONFIG, inbox):
        server.sockets.opened.wait_for(1)
        server.sockets.deliver_press(message, "C0123ABCD", "Yes", "U0002BOB")
        server.sockets.acks.wait_for(1)
    ((press,),) = [parsed.presses for parsed in inbox.kept if parsed.presses]
    assert (press.value, press.sender.platform_id) == ("q:1:0", "U0002BOB")


@pytest.mark.parametrize("reason", ["refresh_requested", "warning"])
def test_it_reconnects_when_slack_asks_for_it(
    adapter: SlackAdapter, server: FakeSlack, inbox: HeldInbox, reason: str
) -> None:
    with heard_by(adapter, CONFIG, inbox) as listening:
        server.sockets.opened.wait_for(1)
        server.sockets.ask_to_reconnect(reason)
        listening.join()
    with heard_by(adapter, CONFIG, inbox):
        server.sockets.opened.wait_for(2)
        server.sockets.deliver("events_api", server.message("D0123ABCD", "still there?"))
        server.sockets.acks.wait_for(1)


def test_an_app_whose_socket_mode_is_switched_off_needs_a_person(
    adapter: SlackAdapter, server: FakeSlack, inbox: HeldInbox
) -> None:
    with pytest.raises(PlatformRefused, match="Socket Mode"), heard_by(adapter, CONFIG, inbox) as listening:
        server.sockets.opened.wait_for(1)
        server.sockets.ask_to_reconnect("link_disabled")
        listening.join()


def test_a_broken_connection_is_temporary(adapter: SlackAdapter, server: FakeSlack, inbox: HeldInbox) -> None:
    with pytest.raises(PlatformAway), heard_by(adapter, CONFIG, inbox) as listening:
        server.sockets.opened.wait_for(1)
        server.sockets.break_all()
        listening.join()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("throttle", retry_after_s=17), PlatformThrottled),
        (Fault("error"), PlatformAway),
        (Fault("invalid_auth"), PlatformRefused),
    ],
)
def test_what_opening_a_connection_says_is_understood(
    adapter: SlackAdapter, server: FakeSlack, inbox: HeldInbox, fault: Fault, error: type[SlipwayError]
) -> None:
    server.faults.plan(fault)
    with pytest.raises(error):
        adapter.listen(CONFIG, inbox)


@pytest.mark.parametrize(
    "payload",
    [None, 5, {}, {"type": "event_callback", "event": {"type": "message", "user": 5}}, {"type": "new_kind"}],
)
@pytest.mark.parametrize("kind", ["events_api", "interactive", "slash_commands", "something_new"])
def test_what_cannot_be_read_is_counted_and_acknowledged(
    adapter: SlackAdapter, server: FakeSlack, inbox: HeldInbox, kind: str, payload: Any
) -> None:
    with heard_by(adapter, CONFIG, inbox):
        server.sockets.opened.wait_for(1)
        server.sockets.deliver(kind, payload)
        server.sockets.acks.wait_for(1)
    assert [parsed.ignored for parsed in inbox.kept if parsed.ignored] in (["unknown_type"], ["unreadable"])


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"type": 5}', '{"type": "event", "envelope_id": []}']
)
def test_frames_that_are_no_envelopes_break_nothing(
    adapter: SlackAdapter, server: FakeSlack, inbox: HeldInbox, text: str
) -> None:
    with heard_by(adapter, CONFIG, inbox):
        server.sockets.opened.wait_for(1)
        server.sockets.send_raw(text)
        server.sockets.deliver("events_api", server.message("D0123ABCD", "hello"))
        server.sockets.acks.wait_for(1)
    assert [message.text for message in inbox.messages()] == ["hello"]
