"""Routing what came in: which agents answer a message, and the work that it becomes."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence

from django.db import InterfaceError, OperationalError
from django.db.models import Q

from services.domain.actors import Actor, require
from services.domain.agents.actions import get_usable_agent
from services.domain.chat_commands.choosing import find_chosen_model
from services.domain.chats.changes import apply_early_changes
from services.domain.chats.inbound import lock_chat
from services.domain.chats.models import Chat, Conversation, InboundMessage, SessionMode, Wiring
from services.domain.chats.prompting import prompt_of, said_before
from services.domain.chats.routing import Rule, Verdict, conversation_scope, judge
from services.domain.contacts.accounts import find_person
from services.domain.contacts.claiming import take_message
from services.domain.contacts.holding import stop_stranger
from services.domain.contacts.saying import say
from services.domain.errors import AgentMissing, NotPermitted, SlipwayError, Temporary
from services.domain.media.inbox import put_in_inbox
from services.domain.media.offering import AWAITING, ask_for_files
from services.domain.ports.chat import ChatKind
from services.domain.tasks.models import TaskMode
from services.domain.tasks.submit import TaskOrder, submit_task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.models import Workspace
from services.kit.clock import now

log = logging.getLogger(__name__)

# After so many unexpected errors a message is given up, so that it does not hold up its chat for ever.
MAX_FAILURES = 4
NOT_FOR_YOU = "I may not work for you: that needs the role member, and an agent that is shared with you."
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
            .select_related("chat", "link")
            .filter(id=message_id)
            .first()
        )
        # Somebody else may have routed it, or stored an earlier one, while this waited for the chat.
        if message is None or unrouted.filter(id__lt=message_id).exists():
            return []
        apply_early_changes(message)
        verdicts: list[Verdict] = []
        # What bots say is no command and answers no question.
        outcome = "deleted" if message.deleted_at else None if message.is_bot else take_message(message)
        if outcome is None:
            verdicts = judge(_rules(message.chat), text=message.text, is_mention=message.is_mention)
            outcome = _answer(message, verdicts)
        message.routed_at, message.outcome = None if outcome == AWAITING else now(), outcome[:200]
        message.save(update_fields=["routed_at", "outcome"])
        return verdicts


def _answer(message: InboundMessage, verdicts: Sequence[Verdict]) -> str:
    """Give a message to the agents that answer it; returns what became of it."""
    if not verdicts:
        return "no_wiring"
    engaged = [verdict.rule for verdict in verdicts if verdict.is_engaged and not message.is_bot]
    stopped = stop_stranger(message, engaged[0].agent_id if engaged else None)
    if stopped is not None:
        return stopped
    if not engaged:
        reasons = {"bot"} if message.is_bot else {verdict.reason for verdict in verdicts}
        return f"context: {', '.join(sorted(reasons))}"
    if ask_for_files([*said_before(message), message]):
        return AWAITING
    person = find_person(message.link_id, message.sender_id)
    return "; ".join(_engage(message, rule, person) for rule in engaged)


def _rules(chat: Chat) -> list[Rule]:
    rows = Wiring.objects.filter(chat=chat, agent__archived_at=None)
    return [
        Rule(row.id, row.agent_id, row.engage, row.pattern, row.session_mode, row.priority, row.is_enabled)
        for row in rows
    ]


def _engage(message: InboundMessage, rule: Rule, person: Actor | None) -> str:
    scope = conversation_scope(rule.session_mode, chat_id=message.chat_id, thread_id=message.thread_id)
    actor = _asker(message, rule, person)
    conversation = (
        Conversation.objects.select_for_update(of=("self",))
        .select_related("workspace")
        .filter(_of_same_person(actor), agent_id=rule.agent_id, scope=scope, workspace__archived_at=None)
        .first()
    )
    order = TaskOrder(
        agent_id=rule.agent_id,
        workspace_id=conversation.workspace_id if conversation else None,
        prompt=prompt_of(message),
        model=find_chosen_model(rule.agent_id, scope),
        mode=TaskMode.SESSION,
        deliver_to={
            "chat_id": str(message.chat_id),
            "thread_id": message.thread_id,
            "reply_to": message.platform_message_id,
        },
    )
    try:
        with tenant_transaction(message.org_id):
            if person is not None:
                # A member is held to their own rights wherever they write, whoever the work is for.
                require(person, "tasks:write")
                get_usable_agent(person, rule.agent_id)
            task = submit_task(
                actor,
                order,
                source=message.link.kind,
                idempotency_key=f"inbound:{message.id}:{rule.wiring_id}",
            )
    except (NotPermitted, AgentMissing) as error:
        say(message, NOT_FOR_YOU)
        return f"refused: {error.code}"
    except SlipwayError as error:
        return f"refused: {error.code}"
    put_in_inbox(task, [*said_before(message), message])
    _remember(message, rule.agent_id, scope, task.workspace)
    return f"task: {task.id}"


def _asker(message: InboundMessage, rule: Rule, person: Actor | None) -> Actor:
    """Return whose work a message becomes: the member's in a direct chat of their own, nobody's anywhere else.

    Where others write too, or their files lie, work for a person would put that person's secrets, accounts and
    memories within their reach.
    """
    is_alone = message.chat.kind == ChatKind.DIRECT and rule.session_mode != SessionMode.AGENT_SHARED
    if person is not None and is_alone:
        return person
    return Actor(org_id=message.org_id, kind="system", role="member")


def _of_same_person(actor: Actor) -> Q:
    """Return in which workspaces a conversation may go on: never in one of somebody else's.

    One of nobody's was begun in the same direct chat, before the account was linked.
    """
    of_nobody = Q(workspace__user=None)
    return of_nobody if actor.user_id is None else of_nobody | Q(workspace__user=actor.user_id)


def _remember(message: InboundMessage, agent_id: uuid.UUID, scope: str, workspace: Workspace) -> None:
    Conversation.objects.update_or_create(
        agent_id=agent_id,
        scope=scope,
        defaults={"workspace": workspace},
        create_defaults={
            "workspace": workspace,
            "org_id": message.org_id,
        },
    )
