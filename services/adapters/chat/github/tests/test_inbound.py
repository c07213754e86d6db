"""What becomes of GitHub's events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from services.adapters.chat.github import inbound
from services.adapters.chat.github.config import GithubConfig
from services.adapters.chat.github.tests import payloads
from services.adapters.chat.github.tests.payloads import (
    CONFIG,
    GUID,
    ISSUE,
    PULL,
    commented,
    event,
    hook,
    on_line,
)
from services.domain.errors import MalformedBody
from services.domain.ports.chat import ChangeKind, ChatKind, InboundMessage, Parsed, Place, Sender
from tests.fakes.github_chat_server import BOT, PERSON
from tests.fakes.github_server import private_key

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
BOB = Sender("501", "bob")


def _parse(body: dict[str, Any], name: str = "issues", config: GithubConfig = CONFIG) -> Parsed:
    return inbound.parse(config, hook(body, name))


def _comment(text: str) -> InboundMessage:
    return _parse(commented(text), "issue_comment").messages[-1]


def test_an_issue_is_a_chat_and_its_words_are_the_first_message() -> None:
    (message,) = _parse(payloads.opened()).messages
    assert message.place == Place("acme/shop#12")
    assert (message.chat_kind, message.chat_title) == (ChatKind.CHANNEL, "acme/shop#12: Login fails")
    assert (message.text, message.is_mention) == ("Login fails\n\nIt says 500.", False)
    assert (message.sender, message.sent_at, message.message_id) == (BOB, AT, "issue:12")


def test_a_comment_comes_with_the_issues_own_words_before_it_which_have_one_key() -> None:
    before, said = _parse(commented("@acme-agents mend it"), "issue_comment").messages
    (opened,) = _parse(payloads.opened()).messages
    assert before.dedupe_key == opened.dedupe_key
    assert (before.text, before.is_mention) == ("Login fails\n\nIt says 500.", False)
    assert (said.text, said.is_mention, said.message_id) == ("mend it", True, "comment:77")
    assert said.place == before.place


def test_of_an_issue_that_the_app_wrote_only_the_comment_is_heard() -> None:
    body = commented("hello") | {"issue": ISSUE | {"user": BOT}}
    assert [each.text for each in _parse(body, "issue_comment").messages] == ["hello"]


def test_a_comment_on_a_line_opens_a_thread_with_the_lines_that_it_is_on() -> None:
    hunk, said = _parse(on_line("@acme-agents why?"), "pull_request_review_comment").messages
    assert hunk.text == "[on shop.py line 3]\n@@ -1 +1 @@\n-tea\n+coffee"
    assert said.place == hunk.place == Place("acme/shop#13", "77")
    assert (said.text, said.is_mention, said.message_id) == ("why?", True, "review_comment:77")
    again, answer = _parse(
        on_line("because", id=78, in_reply_to_id=77), "pull_request_review_comment"
    ).messages
    assert answer.place == Place("acme/shop#13", "77")
    assert again.dedupe_key == hunk.dedupe_key


def test_a_review_as_a_whole_is_a_comment_on_the_pull_request() -> None:
    review = payloads.COMMENT | {"body": "@acme-agents looks good?", "submitted_at": payloads.AT}
    body = event("submitted", pull_request=PULL, review=review)
    said = _parse(body, "pull_request_review").messages[-1]
    assert (said.text, said.is_mention, said.message_id) == ("looks good?", True, "issue:13")
    empty = event("submitted", pull_request=PULL, review=review | {"body": None})
    assert _parse(empty, "pull_request_review") == Parsed(ignored="no_text")


@pytest.mark.parametrize(
    ("text", "shown", "is_mention"),
    [
        ("@acme-agents mend it", "mend it", True),
        ("please @Acme-Agents, mend it", "please mend it", True),
        ("@acme-agents[bot] mend it", "mend it", True),
        ("@acme-agents", "@acme-agents", True),
        ("ask @acme-agents-old", "ask @acme-agents-old", False),
        ("mail bob@acme-agents", "mail bob@acme-agents", False),
        ("see github.com/@acme-agents", "see github.com/@acme-agents", False),
        ("say `@acme-agents go`", "say `@acme-agents go`", False),
        ("> @acme-agents go\nno", "> @acme-agents go\nno", False),
        ("```\n@acme-agents go\n```\nno", "```\n@acme-agents go\n```\nno", False),
        ("> @acme-agents go\n@acme-agents yes", "> @acme-agents go\nyes", True),
        ("<!-- slipway:0123456789abcdef0123456789abcdef -->\nquoted", "quoted", False),
    ],
)
def test_the_apps_name_is_taken_out_where_it_is_a_mention(text: str, shown: str, is_mention: bool) -> None:
    message = _comment(text)
    assert (message.text, message.is_mention) == (shown, is_mention)


@pytest.mark.parametrize("name", ["issues", "pull_request"])
def test_a_label_or_an_assignment_hands_the_issue_over(name: str) -> None:
    key = "issue" if name == "issues" else "pull_request"
    labeled = event("labeled", label={"name": "Agent"}, **{key: ISSUE})
    assigned = event("assigned", assignee={"login": "acme-robot"}, **{key: ISSUE})
    for body, how in ((labeled, "labeled agent"), (assigned, "assigned to acme-robot")):
        (message,) = _parse(body, name).messages
        assert message.text == f"[{how}]\nLogin fails\n\nIt says 500."
        assert (message.is_mention, message.sender, message.dedupe_key) == (True, BOB, f"{name}:{GUID}")
    other = event("labeled", label={"name": "bug"}, **{key: ISSUE})
    assert _parse(other, name) == Parsed(ignored="not_for_the_agent")


def test_edits_and_deletions_are_changes() -> None:
    edited = event(
        "edited", issue=ISSUE, comment=payloads.COMMENT | {"body": "new"}, changes={"body": {"from": "x"}}
    )
    (change,) = _parse(edited, "issue_comment").changes
    assert (change.kind, change.text, change.message_id) == (ChangeKind.EDITED, "new", "comment:77")
    assert (change.place, change.sender, change.changed_at) == (Place("acme/shop#12"), BOB, AT)
    gone = event("deleted", pull_request=PULL, comment=payloads.ON_LINE)
    (change,) = _parse(gone, "pull_request_review_comment").changes
    assert (change.kind, change.text, change.place) == (ChangeKind.DELETED, "", Place("acme/shop#13", "77"))
    retitled = event("edited", issue=ISSUE, changes={"title": {"from": "x"}})
    (change,) = _parse(retitled).changes
    assert (change.message_id, change.text) == ("issue:12", "Login fails\n\nIt says 500.")
    (change,) = _parse(event("deleted", issue=ISSUE)).changes
    assert change.kind is ChangeKind.DELETED


def test_a_redelivery_has_the_same_keys() -> None:
    edited = event("edited", issue=ISSUE, comment=payloads.COMMENT)
    keys = {_parse(edited, "issue_comment").changes[0].dedupe_key for _ in range(2)}
    assert keys == {f"issue_comment:{GUID}"}


def test_another_bot_is_heard_as_a_bot() -> None:
    other = PERSON | {"id": 9, "login": "other[bot]", "type": "Bot"}
    body = commented("hello", user=other) | {"sender": other}
    assert _parse(body, "issue_comment").messages[-1].sender == Sender("9", "other[bot]", is_bot=True)


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("ping", {"zen": "Keep it logically awesome."}, "ping"),
        ("push", event("x"), "unknown_type"),
        ("issues", event("milestoned", issue=ISSUE), "unknown_type"),
        ("issue_comment", commented("hello") | {"sender": BOT}, "own_message"),
        ("issue_comment", commented("hello") | {"installation": {"id": 1}}, "other_installation"),
        ("issue_comment", commented(" "), "no_text"),
        ("issues", event("edited", issue=ISSUE, changes={}), "not_for_the_agent"),
        ("issues", payloads.opened() | {"repository": {"full_name": "a/" + "b" * 120}}, "chat_id_too_long"),
    ],
)
def test_what_is_not_for_the_agent_is_ignored_with_a_reason(
    name: str, body: dict[str, Any], reason: str
) -> None:
    assert _parse(body, name) == Parsed(ignored=reason)


@pytest.mark.parametrize(
    "body",
    [
        event("opened"),
        payloads.opened(created_at="soon"),
        payloads.opened(created_at="2026-03-02T09:30:00"),
        payloads.opened(number="12"),
        payloads.opened() | {"sender": None},
    ],
)
def test_an_event_that_lacks_what_each_has_is_malformed(body: dict[str, Any]) -> None:
    with pytest.raises(MalformedBody):
        _parse(body)


def test_a_key_whose_lines_were_joined_is_the_same_key() -> None:
    joined = private_key().replace("\n", " ")
    made = GithubConfig.model_validate(CONFIG.revealed() | {"private_key": SecretStr(joined)})
    assert made.private_key == CONFIG.private_key
    with pytest.raises(ValueError, match="private key") as caught:
        GithubConfig.model_validate(CONFIG.revealed() | {"private_key": "-----BEGIN nothing-of-value"})
    assert "nothing-of-value" not in str(caught.value)
