"""Routing what came in, in order: which agents answer a message, what becomes of it, and the record of why."""

from __future__ import annotations

import logging
import uuid
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import InterfaceError, OperationalError

from services.domain.chats.changes import apply_early_changes
from services.domain.chats.engaging import Taken, engage
from services.domain.chats.judging import entry_of, judge_message, note_engaged
from services.domain.chats.models import Decision, InboundMessage
from services.domain.chats.prompting import said_before
from services.domain.chats.queries import lock_chat
from services.domain.chats.registering import ask_for_agent
from services.domain.chats.routing import Rule, Verdict
from services.domain.chats.sending import Piece, Spot, write_message
from services.domain.contacts.accounts import find_person
from services.domain.contacts.claiming import take_message
from services.domain.contacts.holding import Passage, pass_gate, standing_of
from services.domain.contacts.saying import say
from services.domain.errors import Temporary
from services.domain.media.offering import AWAITING, ask_for_files
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

log = logging.getLogger(__name__)

# After so many unexpected errors a message is given up, so that it does not hold up its chat for ever.
MAX_FAILURES = 4
BROKEN = "Something went wrong here, and I could not take your message. Please send it again."


def route_message(org_id: uuid.UUID, message_id: uuid.UUID) -> list[Verdict]:
    """Decide which agents answer a stored message and submit their tasks, once.

    What came earlier in its chat and is not routed yet goes first, so that the jobs of one chat cannot overtake one
    another. What is not answered stays as context, with the reason in `outcome`; that of somebody unknown may wait.
    Locks: the chat, then the message. Raises: what comes in between, until a message has failed MAX_FAILURES times.
    """
    with tenant_transaction(org_id):
        chat_id = InboundMessage.objects.filter(id=message_id).values_list("chat_id", flat=True).first()
    if chat_id is None:
        return []
    last_id: uuid.UUID | None = None
    while (next_id := _find_next(org_id, chat_id, message_id)) is not None and next_id != last_id:
        verdicts = _route_patiently(org_id, chat_id, next_id)
        if next_id == message_id:
            return verdicts
        # One that waits for its files comes back with them, and those behind it as well.
        last_id = next_id
    return []


def _find_next(org_id: uuid.UUID, chat_id: uuid.UUID, up_to: uuid.UUID) -> uuid.UUID | None:
    with tenant_transaction(org_id):
        waiting = InboundMessage.objects.filter(chat_id=chat_id, routed_at=None, id__lte=up_to)
        return waiting.order_by("id").values_list("id", flat=True).first()


def _route_patiently(org_id: uuid.UUID, chat_id: uuid.UUID, message_id: uuid.UUID) -> list[Verdict]:
    try:
        return _route_one(org_id, chat_id, message_id)
    except (Temporary, OperationalError, InterfaceError):
        raise
    except Exception as error:
        log.exception("message %s could not be routed", message_id)
        if not _give_up(org_id, message_id, error):
            raise
        return []


def _give_up(org_id: uuid.UUID, message_id: uuid.UUID, error: Exception) -> bool:
    """Count an unexpected error; after too many the message is done with, and its writer is told."""
    with tenant_transaction(org_id):
        message = (
            InboundMessage.objects.select_for_update(of=("self",)).select_related("chat").get(id=message_id)
        )
        message.failures += 1
        is_over = message.failures >= MAX_FAILURES
        if is_over:
            message.routed_at, message.outcome = now(), f"failed: {type(error).__name__}"[:200]
            if message.is_mention:
                say(message, BROKEN)
        message.save(update_fields=["failures", "routed_at", "outcome"])
        return is_over


def _route_one(org_id: uuid.UUID, chat_id: uuid.UUID, message_id: uuid.UUID) -> list[Verdict]:
    with tenant_transaction(org_id):
        lock_chat(chat_id)
        unrouted = InboundMessage.objects.filter(chat_id=chat_id, routed_at=None)
        message = (
            unrouted.select_for_update(of=("self",))
            .select_related("chat__link", "link")
            .filter(id=message_id)
            .first()
        )
        # Somebody else may have routed it, or stored an earlier one, while this waited for the chat.
        if message is None or unrouted.filter(id__lt=message_id).exists():
            return []
        apply_early_changes(message)
        decided = _decide(message)
        message.outcome = decided.outcome[:200]
        if decided.outcome != AWAITING:
            message.routed_at = now()
            _write_down(message, decided)
        message.save(update_fields=["routed_at", "outcome"])
        return decided.verdicts


@dataclass(frozen=True, slots=True)
class _Decided:
    """What became of a message, with what every wiring and the gate said, as far as they were asked."""

    outcome: str
    verdicts: list[Verdict] = field(default_factory=list)
    passage: Passage | None = None
    taken: Mapping[uuid.UUID, Taken] = field(default_factory=dict)


def _decide(message: InboundMessage) -> _Decided:
    """Let the first who wants a message have it: its writer's deletion, the platform itself, the agents."""
    if message.deleted_at is not None:
        return _Decided("deleted")
    # What bots say is no command and answers no question.
    if not message.is_bot and (taken := take_message(message)) is not None:
        return _Decided(taken)
    person = find_person(message.link_id, message.sender_id)
    verdicts = judge_message(message, standing_of(message), person)
    if not verdicts:
        outcome, passage = ask_for_agent(message)
        return _Decided(outcome, passage=passage)
    engaged = [verdict.rule for verdict in verdicts if verdict.is_engaged]
    passage = pass_gate(message, engaged[0].agent_id if engaged else None)
    if passage.outcome is not None:
        return _Decided(passage.outcome, verdicts, passage)
    if engaged and ask_for_files(_read_by(message, engaged), engaged[0].agent_id):
        return _Decided(AWAITING)
    taken_by = {}
    for rule in engaged:
        note_engaged(message, rule)
        taken_by[rule.wiring_id] = engage(message, rule, person)
    if not engaged:
        _tell_quiet(message, verdicts)
    return _Decided(_outcome(verdicts, taken_by), verdicts, passage, taken_by)


def _read_by(message: InboundMessage, rules: Sequence[Rule]) -> list[InboundMessage]:
    """Return all messages that the agents of some wirings will read with this one."""
    before = {row.id: row for rule in rules for row in said_before(message, rule.agent_id)}
    return [*before.values(), message]


def _outcome(verdicts: Sequence[Verdict], taken: Mapping[uuid.UUID, Taken]) -> str:
    if taken:
        return "; ".join(one.outcome for one in taken.values())
    kept = "context" if any(verdict.becomes == "context" for verdict in verdicts) else "dropped"
    return f"{kept}: {', '.join(sorted({verdict.reason for verdict in verdicts}))}"


def _write_down(message: InboundMessage, decided: _Decided) -> None:
    passage = decided.passage
    values = {
        "standing": passage.standing if passage else "",
        "ruling": passage.ruling.becomes if passage else "",
        "reason": passage.ruling.reason if passage else "",
        "wirings": [_entry(verdict, decided) for verdict in decided.verdicts],
        "decided_at": now(),
    }
    Decision.objects.update_or_create(
        message=message,
        defaults=values,
        create_defaults={**values, "org_id": message.org_id, "chat_id": message.chat_id},
    )


def _entry(verdict: Verdict, decided: _Decided) -> dict[str, Any]:
    if decided.passage is not None and decided.passage.outcome is not None:
        # Whoever is not heard is not read later either.
        return entry_of(verdict, decided.passage.ruling.becomes, None, "")
    taken = decided.taken.get(verdict.rule.wiring_id)
    if taken is not None:
        return entry_of(verdict, taken.becomes, taken.task_id, taken.detail)
    return entry_of(verdict, verdict.becomes, None, "")


def _tell_quiet(message: InboundMessage, verdicts: Sequence[Verdict]) -> None:
    """Say, once in each place and night, until when an agent that was spoken to only listens."""
    quiet = next((verdict for verdict in verdicts if verdict.quiet_until is not None), None)
    if quiet is None or quiet.quiet_until is None or not message.is_mention:
        return
    hours = quiet.rule.quiet
    clock = quiet.quiet_until.astimezone(zoneinfo.ZoneInfo(hours.time_zone))
    later = "I read it then." if quiet.becomes == "context" else "Please write again then."
    write_message(
        Spot(message.chat, message.thread_id, message.platform_message_id),
        [Piece(f"I have quiet hours until {clock:%H:%M} ({hours.time_zone}). {later}")],
        batch=f"quiet:{quiet.rule.wiring_id}:{clock:%Y%m%d}:{message.chat_id}:{message.thread_id}"[:120],
        task=None,
    )
