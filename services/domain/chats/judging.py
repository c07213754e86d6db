"""What the decision about a message is made of: the chat's wirings, who wrote it, and what happened there before."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from services.domain.actors import Actor
from services.domain.chats.models import Chat, Decision, Engage, Engagement, InboundMessage, Wiring
from services.domain.chats.routing import Heard, Memory, Rule, Verdict, judge
from services.domain.contacts.gate import Standing
from services.domain.contacts.quiet import QuietHours
from services.kit.clock import now

# Two bots that answer each other are cut off within this time; one that reports now and then is not.
BOT_WINDOW = timedelta(hours=1)
ANSWERED = ("task", "steered")
_LOOKED_BACK = 100


def judge_message(message: InboundMessage, standing: Standing, person: Actor | None) -> list[Verdict]:
    """Judge a message by all wirings of its chat. Inside the tenant's transaction."""
    rules = list_rules(message.chat)
    heard = Heard(
        text=message.text,
        is_mention=message.is_mention,
        at=message.created_at,
        thread_id=message.thread_id,
        is_bot=message.is_bot,
        standing=standing,
        user_id=person.user_id if person is not None else None,
    )
    return judge(rules, heard, _memories(message, rules))


def list_rules(chat: Chat) -> list[Rule]:
    """Return the wirings of a chat to agents in use, as the decision takes them. Inside the tenant's transaction."""
    rows = Wiring.objects.select_related("agent").filter(chat=chat, agent__archived_at=None)
    return [_rule_of(row) for row in rows]


def note_engaged(message: InboundMessage, rule: Rule) -> None:
    """Remember that a sticky wiring was spoken to, so that it goes on answering there."""
    if rule.engage != Engage.MENTION_STICKY:
        return
    Engagement.objects.update_or_create(
        wiring_id=rule.wiring_id,
        thread_id=message.thread_id,
        sender_id=_sticks_to(message),
        defaults={"engaged_at": message.created_at},
        create_defaults={"org_id": message.org_id, "engaged_at": message.created_at},
    )


def _rule_of(row: Wiring) -> Rule:
    return Rule(
        wiring_id=row.id,
        agent_id=row.agent_id,
        agent_name=row.agent.name,
        engage=row.engage,
        pattern=row.pattern,
        command=row.command,
        sender_scope=row.sender_scope,
        people=frozenset(row.people),
        session_mode=row.session_mode,
        unanswered=row.unanswered,
        priority=row.priority,
        is_exclusive=row.is_exclusive,
        bot_turns=row.bot_turns,
        quiet=QuietHours.model_validate(row),
        is_enabled=row.is_enabled,
    )


def _memories(message: InboundMessage, rules: Sequence[Rule]) -> dict[uuid.UUID, Memory]:
    sticky = [rule.wiring_id for rule in rules if rule.engage == Engage.MENTION_STICKY]
    engaged = dict(
        Engagement.objects.filter(
            wiring__in=sticky, thread_id=message.thread_id, sender_id=_sticks_to(message)
        ).values_list("wiring_id", "engaged_at")
        if sticky
        else ()
    )
    listens_to_bots = message.is_bot and any(rule.bot_turns for rule in rules)
    turns = _count_bot_turns(message) if listens_to_bots else {}
    return {
        rule.wiring_id: Memory(engaged.get(rule.wiring_id), turns.get(str(rule.agent_id), 0))
        for rule in rules
    }


def _sticks_to(message: InboundMessage) -> str:
    """Return whose messages an engagement covers: everybody's in a thread, one person's where there are none."""
    return "" if message.thread_id else message.sender_id


def _count_bot_turns(message: InboundMessage) -> dict[str, int]:
    """Count, by agent, the messages of bots that were answered in this place since a person spoke there."""
    before = Decision.objects.filter(
        chat_id=message.chat_id,
        message__thread_id=message.thread_id,
        message_id__lt=message.id,
        message__created_at__gt=now() - BOT_WINDOW,
    )
    counts: dict[str, int] = {}
    rows = before.order_by("-message_id").values_list("message__is_bot", "wirings")
    for is_bot, wirings in rows[:_LOOKED_BACK]:
        if not is_bot:
            break
        for entry in wirings:
            if entry["becomes"] in ANSWERED:
                counts[entry["agent_id"]] = counts.get(entry["agent_id"], 0) + 1
    return counts


def entry_of(verdict: Verdict, becomes: str, task_id: uuid.UUID | None, detail: str) -> dict[str, Any]:
    """Return a verdict as a decision keeps it, with the rule as it was then."""
    rule = verdict.rule
    return {
        "wiring_id": str(rule.wiring_id),
        "agent_id": str(rule.agent_id),
        "agent": rule.agent_name,
        "engage": rule.engage,
        "priority": rule.priority,
        "is_exclusive": rule.is_exclusive,
        "reason": verdict.reason,
        "becomes": becomes,
        "task_id": str(task_id) if task_id is not None else None,
        "detail": detail,
    }
