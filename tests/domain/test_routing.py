"""The decision about a message, pure: every rule, every reason, and the order of wirings."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.domain.chats.patterns import MATCH_CHARS, check_pattern, is_match
from services.domain.chats.routing import STICKY_FOR, Heard, Memory, Rule, conversation_scope, judge
from services.domain.contacts.gate import Standing
from services.domain.contacts.quiet import QuietHours
from services.domain.errors import PatternInvalid, PatternTooCostly

A, B, C = (uuid.UUID(int=number) for number in (1, 2, 3))
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
NIGHT = QuietHours(time_zone="Europe/Berlin", quiet_from="22:00", quiet_to="07:00")
LATE = datetime(2026, 3, 2, 21, 30, tzinfo=UTC)


def rule(engage: str = "always", number: int = 1, **fields: Any) -> Rule:
    return Rule(uuid.UUID(int=number), A, engage, **fields)


def heard(text: str = "hi", *, mention: bool = False, **fields: Any) -> Heard:
    return Heard(text, mention, **{"at": NOON} | fields)


def ago(**span: float) -> Memory:
    return Memory(engaged_at=NOON - timedelta(**span))


MEMBER, ALLOWED, LET_IN, UNKNOWN = Standing.MEMBER, Standing.ALLOWED, Standing.LET_IN, Standing.UNKNOWN
STICKY = "mention-sticky"


@pytest.mark.parametrize(
    ("one", "message", "memory", "answers", "reason"),
    [
        (rule("always"), heard(), Memory(), True, "always"),
        (rule("never"), heard(mention=True), Memory(), False, "never"),
        (rule("always", is_enabled=False), heard(mention=True), Memory(), False, "disabled"),
        (rule("mention"), heard(mention=True), Memory(), True, "mentioned"),
        (rule("mention"), heard(), ago(minutes=1), False, "not_mentioned"),
        (rule(STICKY), heard(mention=True), Memory(), True, "mentioned"),
        (rule(STICKY), heard(), Memory(), False, "not_mentioned"),
        (rule(STICKY), heard(thread_id="5"), ago(days=30), True, "mentioned_before"),
        (rule(STICKY), heard(thread_id="5"), Memory(), False, "not_mentioned"),
        (rule(STICKY), heard(), Memory(NOON - STICKY_FOR), True, "mentioned_before"),
        (rule(STICKY), heard(), ago(minutes=10, seconds=1), False, "not_mentioned"),
        (rule("pattern", pattern=r"^deploy\b"), heard("deploy it"), Memory(), True, "pattern_matched"),
        (rule("pattern", pattern=r"^deploy\b"), heard("redeploy"), Memory(), False, "pattern_not_matched"),
        (rule("pattern", pattern=r"(?i)DEPLOY"), heard("deploy it"), Memory(), True, "pattern_matched"),
        (rule("pattern", pattern="("), heard("("), Memory(), False, "pattern_invalid"),
        (rule("command", command="deploy"), heard("/deploy now"), Memory(), True, "command"),
        (rule("command", command="deploy"), heard("!Deploy"), Memory(), True, "command"),
        (rule("command", command="deploy"), heard("/deployed"), Memory(), False, "not_the_command"),
        (rule("command", command="deploy"), heard("please /deploy"), Memory(), False, "not_the_command"),
        (rule(), heard(is_bot=True), Memory(), False, "bot"),
        (rule(bot_turns=2), heard(is_bot=True), Memory(bot_turns=1), True, "always"),
        (rule(bot_turns=2), heard(is_bot=True), Memory(bot_turns=2), False, "bot_turns_used"),
        (rule("mention", bot_turns=2), heard(is_bot=True), Memory(bot_turns=2), False, "not_mentioned"),
        (rule(bot_turns=1), heard(), Memory(bot_turns=9), True, "always"),
        (rule(sender_scope="all"), heard(standing=UNKNOWN), Memory(), True, "always"),
        (rule(sender_scope="known"), heard(standing=UNKNOWN), Memory(), False, "sender_not_known"),
        (rule(sender_scope="known"), heard(standing=ALLOWED), Memory(), True, "always"),
        (rule(sender_scope="known"), heard(standing=LET_IN), Memory(), True, "always"),
        (rule(sender_scope="known"), heard(standing=MEMBER), Memory(), True, "always"),
        (rule(sender_scope="members"), heard(standing=ALLOWED), Memory(), False, "sender_no_member"),
        (rule(sender_scope="members"), heard(standing=MEMBER), Memory(), True, "always"),
        (rule(sender_scope="people", people=frozenset({B})), heard(user_id=B), Memory(), True, "always"),
        (
            rule(sender_scope="people", people=frozenset({B})),
            heard(user_id=C, standing=MEMBER),
            Memory(),
            False,
            "sender_not_named",
        ),
        (rule(sender_scope="people", people=frozenset({B})), heard(), Memory(), False, "sender_not_named"),
        (rule(quiet=NIGHT), heard(), Memory(), True, "always"),
        (rule(quiet=NIGHT), heard(at=LATE), Memory(), False, "quiet_hours"),
        (rule("mention", quiet=NIGHT), heard(at=LATE), Memory(), False, "not_mentioned"),
    ],
)
def test_a_wiring_judges_by_itself(one, message, memory, answers, reason):
    (verdict,) = judge([one], message, {one.wiring_id: memory})
    assert (verdict.is_engaged, verdict.reason) == (answers, reason)
    assert verdict.becomes == ("answers" if answers else "context")


def test_what_a_wiring_does_not_answer_is_context_or_dropped_as_it_says():
    for unanswered, becomes in (("accumulate", "context"), ("drop", "dropped")):
        (verdict,) = judge([rule("never", unanswered=unanswered)], heard())
        assert verdict.becomes == becomes


def test_quiet_hours_say_until_when():
    (verdict,) = judge([rule(quiet=NIGHT)], heard(at=LATE))
    assert verdict.quiet_until == datetime(2026, 3, 3, 6, 0, tzinfo=UTC)


def test_the_highest_priority_comes_first():
    verdicts = judge([rule(number=1), rule(priority=5, number=2)], heard())
    assert [(verdict.rule.priority, verdict.is_engaged) for verdict in verdicts] == [(5, True), (0, True)]


def test_the_first_exclusive_one_that_answers_ends_it():
    def reasons(*rules: Rule, **message: Any) -> list[str]:
        return [verdict.reason for verdict in judge(rules, heard(**message))]

    first = rule(number=1, priority=9)
    exclusive = rule("mention", number=2, priority=5, is_exclusive=True)
    last = rule(number=3)
    assert reasons(last, exclusive, first, mention=True) == ["always", "mentioned", "outranked"]
    assert reasons(last, exclusive, first) == ["always", "not_mentioned", "always"]


def test_an_exclusive_one_in_its_quiet_hours_leaves_the_message_to_others():
    asleep = rule(number=1, priority=5, is_exclusive=True, quiet=NIGHT)
    assert [verdict.reason for verdict in judge([asleep, rule(number=2)], heard(at=LATE))] == [
        "quiet_hours",
        "always",
    ]


@pytest.mark.parametrize("pattern", ["", "(", "*", r"(?=look)ahead", r"(a)\1"])
def test_a_broken_pattern_is_refused(pattern):
    with pytest.raises(PatternInvalid) as refused:
        check_pattern(pattern)
    assert refused.value.code == "pattern_invalid"
    assert refused.value.details["fields"]["pattern"]


@pytest.mark.parametrize("pattern", ["((a{100}){100}){100}", "a{1001}", r"(\w{30}){40}"])
def test_a_pattern_that_repeats_too_often_is_refused(pattern):
    with pytest.raises(PatternTooCostly) as refused:
        check_pattern(pattern)
    assert refused.value.code == "pattern_too_costly"


def test_a_pattern_that_would_take_others_for_ever_takes_a_moment():
    started = time.monotonic()
    assert not is_match(r"^(([a-z])+.)+[A-Z]([a-z])+$", "a" * MATCH_CHARS)
    assert not is_match(r"(x+x+)+y", "x" * MATCH_CHARS)
    assert time.monotonic() - started < 1


def test_a_conversation_is_kept_by_agent_chat_or_thread():
    assert conversation_scope("agent-shared", chat_id=A, thread_id="7") == "agent"
    assert conversation_scope("shared", chat_id=A, thread_id="7") == f"chat:{A}"
    assert conversation_scope("per-thread", chat_id=A, thread_id="7") == f"chat:{A}/thread:7"
    assert conversation_scope("per-thread", chat_id=A, thread_id="") == f"chat:{A}"
