"""What becomes of Linear's events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from services.adapters.chat.linear import inbound
from services.adapters.chat.linear.config import LinearConfig
from services.adapters.chat.linear.options import option_value
from services.adapters.chat.linear.tests import payloads
from services.adapters.chat.linear.tests.payloads import (
    CONFIG,
    DELIVERY,
    PERSONAL,
    SESSION_ID,
    comment,
    created,
    event,
    hook,
    issue,
    prompted,
)
from services.domain.errors import MalformedBody
from services.domain.ports.chat import (
    ChangeKind,
    ChatKind,
    InboundMessage,
    InboundStop,
    Parsed,
    Place,
    Sender,
)
from services.domain.ports.chat_abilities import Button
from tests.fakes.linear_server import BOT_ID, ISSUE, ISSUE_ID, PERSON

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
BOB = Sender(PERSON["id"], "Bob")
SESSION = Place(ISSUE_ID, f"session:{SESSION_ID}")


def _message(body: dict[str, Any], config: LinearConfig = CONFIG) -> InboundMessage:
    (message,) = inbound.parse(config, hook(body)).messages
    return message


def test_a_mention_opens_a_session_which_is_a_thread_of_its_issue() -> None:
    message = _message(created())
    assert message.place == SESSION
    assert (message.chat_kind, message.chat_title) == (ChatKind.CHANNEL, "ENG-12: Login fails")
    assert (message.text, message.is_mention, message.sender) == ("What is the weather?", True, BOB)
    assert (message.message_id, message.sent_at) == (f"comment:{payloads.SAID['id']}", AT)


def test_an_issue_that_is_given_to_the_agent_is_what_is_to_be_done() -> None:
    message = _message(created(comment=None))
    assert (message.text, message.message_id) == ("Login fails\n\nIt says 500.", f"issue:{ISSUE_ID}")


def test_what_linear_tells_of_the_issue_comes_before_and_addresses_nobody() -> None:
    told = created() | {"promptContext": "<issue identifier='ENG-12'>…</issue>"}
    context, message = inbound.parse(CONFIG, hook(told)).messages
    assert (context.is_mention, context.sender.display_name, context.place) == (False, "Linear", SESSION)
    assert context.text.startswith("<issue")
    assert context.dedupe_key != message.dedupe_key


def test_a_session_without_an_issue_is_a_chat_of_its_own() -> None:
    assert _message(created(issue=None, issueId=None)).place == Place(f"session:{SESSION_ID}")


def test_a_prompt_goes_on_in_the_session() -> None:
    message = _message(prompted("and tomorrow?", sourceCommentId="c9c9"))
    assert (message.place, message.text, message.is_mention) == (SESSION, "and tomorrow?", True)
    assert (message.sender, message.message_id) == (BOB, "comment:c9c9")


def test_the_stop_signal_stops() -> None:
    assert inbound.parse(CONFIG, hook(prompted("stop", signal="stop"))) == Parsed(
        stops=(InboundStop("activity:ac71ac71-0000-4000-8000-000000000005", SESSION, BOB),)
    )


def test_an_option_that_was_chosen_is_a_press() -> None:
    chosen = option_value(Button("Yes, ship it", "a:7:once"), "card-1")
    (press,) = inbound.parse(CONFIG, hook(prompted(chosen))).presses
    assert (press.value, press.message_id, press.place, press.sender) == (
        "a:7:once",
        "activity:card-1",
        SESSION,
        BOB,
    )
    assert _message(prompted("Yes, ship it")).text == "Yes, ship it"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (created() | {"appUserId": "another-app"}, "other_app"),
        (created(comment={"id": "c0c0", "body": " "}, issue=None, issueId=None), "no_text"),
        (created(creator={"id": BOT_ID, "name": "slipway"}), "own_message"),
        (event("AgentSessionEvent", "archived", agentSession=payloads.SESSION), "unknown_type"),
        (comment(), "sessions_only"),
        (issue(), "sessions_only"),
        (event("Reaction", "create", data={}), "unknown_type"),
    ],
)
def test_what_is_not_for_an_agent_is_ignored_with_a_reason(body: dict[str, Any], reason: str) -> None:
    assert inbound.parse(CONFIG, hook(body)) == Parsed(ignored=reason)


def test_for_an_api_key_comments_are_heard_in_their_threads() -> None:
    message = _message(comment(body="@slipway why?", parentId="root-1"), PERSONAL)
    assert message.place == Place(ISSUE_ID, "root-1")
    assert (message.text, message.is_mention, message.chat_title) == ("why?", True, "ENG-12: Login fails")
    assert _message(comment(), PERSONAL).place == Place(ISSUE_ID, payloads.SAID["id"])
    assert not _message(comment(body="ask @slipway-2"), PERSONAL).is_mention


def test_for_an_api_key_issues_are_heard_and_given() -> None:
    opened = _message(issue(), PERSONAL)
    assert (opened.place, opened.text, opened.is_mention) == (
        Place(ISSUE_ID),
        "Login fails\n\nIt says 500.",
        False,
    )
    given = _message(issue("update", {"assigneeId": None}, assigneeId=BOT_ID), PERSONAL)
    assert (given.is_mention, given.dedupe_key) == (True, f"assigned:{DELIVERY}")


def test_for_an_api_key_edits_and_deletions_are_changes() -> None:
    (change,) = inbound.parse(PERSONAL, hook(comment("update", body="new"))).changes
    assert (change.kind, change.text, change.sender) == (ChangeKind.EDITED, "new", BOB)
    (change,) = inbound.parse(PERSONAL, hook(comment("remove"))).changes
    assert (change.kind, change.text) == (ChangeKind.DELETED, "")
    (change,) = inbound.parse(PERSONAL, hook(issue("update", {"title": "x"}))).changes
    assert (change.message_id, change.text) == (f"issue:{ISSUE['id']}", "Login fails\n\nIt says 500.")


def test_another_bot_is_heard_as_a_bot() -> None:
    actor = {"id": "x1", "name": "Zapier", "type": "integration"}
    assert _message(comment() | {"actor": actor}, PERSONAL).sender == Sender("x1", "Zapier", is_bot=True)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (comment(userId=BOT_ID, user={"id": BOT_ID}), "own_message"),
        (comment(issueId=None), "unknown_type"),
        (comment(body=""), "no_text"),
        (issue("update", {"priority": 1}), "not_for_the_agent"),
    ],
)
def test_what_is_not_for_a_person_is_ignored_with_a_reason(body: dict[str, Any], reason: str) -> None:
    assert inbound.parse(PERSONAL, hook(body)) == Parsed(ignored=reason)


@pytest.mark.parametrize(
    "body",
    [
        event("AgentSessionEvent", "created"),
        created(id="../x"),
        created(createdAt="soon"),
        created(creator=None, creatorId=""),
        prompted("x", id=None),
        prompted("x", createdAt="2026-03-02T09:30:00"),
    ],
)
def test_an_event_that_lacks_what_each_has_is_malformed(body: dict[str, Any]) -> None:
    with pytest.raises(MalformedBody):
        inbound.parse(CONFIG, hook(body))


def test_a_link_has_one_way_in() -> None:
    for more in (
        {},
        {"client_id": "x"},
        {"client_id": "x", "client_secret": "y" * 8, "access_token": "z" * 8},
    ):
        with pytest.raises(ValueError, match="give the client"):
            LinearConfig.model_validate({"webhook_secret": "w" * 8} | more)
    app = LinearConfig(webhook_secret=SecretStr("w" * 8), access_token=SecretStr("lin_oauth_1"))
    assert (app.is_agent, PERSONAL.is_agent, CONFIG.is_agent) == (True, False, True)
