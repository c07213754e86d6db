"""Which agents answer a message: a pure decision over the chat's wirings, with its reasons."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from services.domain.chats.models import Engage, SessionMode

MATCH_CHARS = 4_000


@dataclass(frozen=True, slots=True)
class Rule:
    """A wiring, as far as the decision needs it."""

    wiring_id: uuid.UUID
    agent_id: uuid.UUID
    engage: str
    pattern: str
    session_mode: str
    priority: int
    is_enabled: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one wiring says of one message, and why in a word."""

    rule: Rule
    is_engaged: bool
    reason: str


def judge(rules: Sequence[Rule], *, text: str, is_mention: bool) -> list[Verdict]:
    """Judge every wiring by itself, the highest priority first. Pure."""
    ordered = sorted(rules, key=lambda rule: (-rule.priority, rule.wiring_id))
    return [Verdict(rule, *_judge_one(rule, text, is_mention)) for rule in ordered]


def conversation_scope(mode: str, *, chat_id: uuid.UUID, thread_id: str) -> str:
    """Return the key of the conversation that a message belongs to, by the wiring's session mode."""
    if mode == SessionMode.AGENT_SHARED:
        return "agent"
    if mode == SessionMode.PER_THREAD and thread_id:
        return f"chat:{chat_id}/thread:{thread_id}"
    return f"chat:{chat_id}"


def _judge_one(rule: Rule, text: str, is_mention: bool) -> tuple[bool, str]:
    if not rule.is_enabled:
        return False, "disabled"
    match rule.engage:
        case Engage.ALWAYS:
            return True, "always"
        case Engage.MENTION:
            return is_mention, "mentioned" if is_mention else "not_mentioned"
        case Engage.PATTERN:
            found = re.search(rule.pattern, text[:MATCH_CHARS]) is not None
            return found, "pattern_matched" if found else "pattern_not_matched"
        case _:
            return False, "never"
