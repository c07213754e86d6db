"""Which agents answer a message: a pure decision over the chat's wirings, with its reasons."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from services.domain.chats.models import Engage, SenderScope, SessionMode, Unanswered
from services.domain.chats.patterns import is_match
from services.domain.contacts.gate import Standing
from services.domain.contacts.quiet import QuietHours
from services.kit.linear_regex import find_fault

# Where there are no threads, this long after an agent was spoken to what the same person says is still to it.
STICKY_FOR = timedelta(minutes=10)
_KNOWN = (Standing.MEMBER, Standing.ALLOWED, Standing.LET_IN)

Becomes = Literal["answers", "context", "dropped"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A wiring, as far as the decision needs it."""

    wiring_id: uuid.UUID
    agent_id: uuid.UUID
    engage: str = Engage.MENTION
    pattern: str = ""
    command: str = ""
    sender_scope: str = SenderScope.ALL
    people: frozenset[uuid.UUID] = frozenset()
    session_mode: str = SessionMode.SHARED
    unanswered: str = Unanswered.ACCUMULATE
    priority: int = 0
    is_exclusive: bool = False
    bot_turns: int = 0
    quiet: QuietHours = field(default_factory=QuietHours)
    is_enabled: bool = True
    agent_name: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """A message, as far as the decision needs it. `user_id` is the member who wrote it."""

    text: str
    is_mention: bool
    at: datetime
    thread_id: str = ""
    is_bot: bool = False
    standing: Standing = Standing.UNKNOWN
    user_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """What happened before between a wiring and a place: when it was last spoken to in the thread, or by this sender
    where there are none, and how many messages of bots it has answered since a person spoke."""

    engaged_at: datetime | None = None
    bot_turns: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a message for one wiring, and why in a word. `quiet_until` is set in its quiet hours."""

    rule: Rule
    becomes: Becomes
    reason: str
    quiet_until: datetime | None = None

    @property
    def is_engaged(self) -> bool:
        """Say whether the agent answers."""
        return self.becomes == "answers"


_NOTHING = Memory()


def judge(
    rules: Sequence[Rule], heard: Heard, memories: Mapping[uuid.UUID, Memory] | None = None
) -> list[Verdict]:
    """Judge every wiring by itself, the highest priority first; an exclusive one that answers outranks the rest. Pure.

    `memories` are by wiring; one that is missing remembers nothing.
    """
    verdicts: list[Verdict] = []
    is_over = False
    for rule in sorted(rules, key=lambda rule: (-rule.priority, rule.wiring_id)):
        memory = (memories or {}).get(rule.wiring_id, _NOTHING)
        is_engaged, reason = _judge_one(rule, heard, memory)
        quiet_until = rule.quiet.quiet_until(heard.at) if is_engaged else None
        if is_engaged and is_over:
            is_engaged, reason, quiet_until = False, "outranked", None
        elif quiet_until is not None:
            is_engaged, reason = False, "quiet_hours"
        verdicts.append(Verdict(rule, _becomes(rule, is_engaged=is_engaged), reason, quiet_until))
        is_over = is_over or (is_engaged and rule.is_exclusive)
    return verdicts


def conversation_scope(mode: str, *, chat_id: uuid.UUID, thread_id: str) -> str:
    """Return the key of the conversation that a message belongs to, by the wiring's session mode."""
    if mode == SessionMode.AGENT_SHARED:
        return "agent"
    if mode == SessionMode.PER_THREAD and thread_id:
        return f"chat:{chat_id}/thread:{thread_id}"
    return f"chat:{chat_id}"


def _becomes(rule: Rule, *, is_engaged: bool) -> Becomes:
    if is_engaged:
        return "answers"
    return "dropped" if rule.unanswered == Unanswered.DROP else "context"


def _judge_one(rule: Rule, heard: Heard, memory: Memory) -> tuple[bool, str]:
    """Say whether a wiring wants to answer, and why (not): switched on, bots, its rule, the sender; in this order."""
    if not rule.is_enabled:
        return False, "disabled"
    if heard.is_bot and rule.bot_turns == 0:
        return False, "bot"
    wants, reason = _engages(rule, heard, memory)
    if not wants:
        return False, reason
    if heard.is_bot and memory.bot_turns >= rule.bot_turns:
        return False, "bot_turns_used"
    refusal = _refuses(rule, heard)
    return (False, refusal) if refusal else (True, reason)


def _engages(rule: Rule, heard: Heard, memory: Memory) -> tuple[bool, str]:
    match rule.engage:
        case Engage.ALWAYS:
            return True, "always"
        case Engage.MENTION:
            return heard.is_mention, "mentioned" if heard.is_mention else "not_mentioned"
        case Engage.MENTION_STICKY:
            if heard.is_mention:
                return True, "mentioned"
            is_sticky = _is_sticky(heard, memory.engaged_at)
            return is_sticky, "mentioned_before" if is_sticky else "not_mentioned"
        case Engage.PATTERN:
            return _matches(rule.pattern, heard.text)
        case Engage.COMMAND:
            is_it = re.match(rf"[/!]{re.escape(rule.command)}(?=\s|$)", heard.text, re.IGNORECASE) is not None
            return is_it, "command" if is_it else "not_the_command"
    return False, "never"


def _is_sticky(heard: Heard, engaged_at: datetime | None) -> bool:
    if engaged_at is None:
        return False
    return bool(heard.thread_id) or heard.at - engaged_at <= STICKY_FOR


def _matches(pattern: str, text: str) -> tuple[bool, str]:
    if find_fault(pattern) is not None:
        # Kept before such patterns were refused: a rule that cannot be read lets nothing through.
        return False, "pattern_invalid"
    found = is_match(pattern, text)
    return found, "pattern_matched" if found else "pattern_not_matched"


def _refuses(rule: Rule, heard: Heard) -> str | None:
    match rule.sender_scope:
        case SenderScope.KNOWN if heard.standing not in _KNOWN:
            return "sender_not_known"
        case SenderScope.MEMBERS if heard.standing != Standing.MEMBER:
            return "sender_no_member"
        case SenderScope.PEOPLE if heard.user_id not in rule.people:
            return "sender_not_named"
    return None
