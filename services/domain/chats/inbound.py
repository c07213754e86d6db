"""What comes in from a platform: kept once, answered at once, routed by a job."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import F, Q

from services.domain.actors import Actor, require
from services.domain.agents.actions import get_usable_agent
from services.domain.chats.actions import read_link_config
from services.domain.chats.models import Chat, Conversation, InboundMessage, Link, SessionMode, Wiring
from services.domain.chats.routing import Rule, Verdict, conversation_scope, judge
from services.domain.contacts.accounts import find_person
from services.domain.contacts.claiming import TAKEN, say, take_message
from services.domain.contacts.holding import HELD, REFUSED, list_let_in_before, stop_stranger
from services.domain.errors import AgentMissing, NotPermitted, SlipwayError
from services.domain.outbox.jobs import RouteMessage, enqueue
from services.domain.ports.chat import ChatKind
from services.domain.ports.chat import InboundMessage as Incoming
from services.domain.tasks.models import TaskMode
from services.domain.tasks.submit import TaskOrder, submit_task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.models import Workspace
from services.kit.clock import now

CONTEXT_MESSAGES = 20
NOT_FOR_YOU = "I may not work for you: that needs the role member, and an agent that is shared with you."


@dataclass(frozen=True, slots=True)
class LinkHandle:
    """A link, as far as a webhook needs it before anything is verified. `config` is open: do not log it."""

    org_id: uuid.UUID
    link_id: uuid.UUID
    kind: str
    config: dict[str, Any]


def all_tenants_find_link(link_id: uuid.UUID, kind: str) -> LinkHandle | None:
    """Return a link by the id in its hook's address, which is what tells the tenant; None when there is none."""
    link = Link.objects.using("operator").filter(id=link_id, kind=kind).first()
    if link is None:
        return None
    return LinkHandle(link.org_id, link.id, link.kind, read_link_config(link))


def store_inbound(handle: LinkHandle, messages: Sequence[Incoming]) -> int:
    """Keep verified messages, each once; returns how many were new.

    Queues: RouteMessage for each new one, in the same transaction.
    """
    stored = 0
    for message in messages:
        with tenant_transaction(handle.org_id):
            chat = _keep_chat(handle, message)
            row, is_new = InboundMessage.objects.get_or_create(
                link_id=handle.link_id,
                dedupe_key=message.dedupe_key[:200],
                defaults={
                    "org_id": handle.org_id,
                    "chat": chat,
                    "thread_id": message.place.thread_id or "",
                    "platform_message_id": message.message_id,
                    "sender_id": message.sender.platform_id[:120],
                    "sender_name": message.sender.display_name[:200],
                    "text": message.text.replace("\x00", ""),
                    "is_mention": message.is_mention,
                    "sent_at": message.sent_at,
                },
            )
            if is_new:
                enqueue(RouteMessage(org_id=handle.org_id, message_id=row.id))
                stored += 1
    return stored


def count_unknown_update(handle: LinkHandle) -> None:
    """Count an update that means nothing to us, so that it does not vanish."""
    with tenant_transaction(handle.org_id):
        Link.objects.filter(id=handle.link_id).update(unknown_updates=F("unknown_updates") + 1)


def route_message(org_id: uuid.UUID, message_id: uuid.UUID) -> list[Verdict]:
    """Decide which agents answer a stored message and submit their tasks, once.

    What is not answered stays as context, with the reason in `outcome`; that of somebody unknown may wait for a person.
    What its writer wrote before it and was let in only now is routed first.
    """
    with tenant_transaction(org_id):
        earlier = list_let_in_before(message_id)
    for earlier_id in earlier:
        _route_one(org_id, earlier_id)
    return _route_one(org_id, message_id)


def _route_one(org_id: uuid.UUID, message_id: uuid.UUID) -> list[Verdict]:
    with tenant_transaction(org_id):
        message = (
            InboundMessage.objects.select_for_update(of=("self",))
            .select_related("chat", "link")
            .filter(id=message_id, routed_at=None)
            .first()
        )
        if message is None:
            return []
        verdicts: list[Verdict] = []
        outcome = take_message(message)
        if outcome is None:
            verdicts = judge(_rules(message.chat), text=message.text, is_mention=message.is_mention)
            outcome = _answer(message, verdicts)
        message.routed_at, message.outcome = now(), outcome[:200]
        message.save(update_fields=["routed_at", "outcome"])
        return verdicts


def _answer(message: InboundMessage, verdicts: Sequence[Verdict]) -> str:
    """Give a message to the agents that answer it; returns what became of it."""
    if not verdicts:
        return "no_wiring"
    engaged = [verdict.rule for verdict in verdicts if verdict.is_engaged]
    stopped = stop_stranger(message, engaged[0].agent_id if engaged else None)
    if stopped is not None:
        return stopped
    if not engaged:
        return f"context: {', '.join(sorted({verdict.reason for verdict in verdicts}))}"
    person = find_person(message.link_id, message.sender_id)
    return "; ".join(_engage(message, rule, person) for rule in engaged)


def _keep_chat(handle: LinkHandle, message: Incoming) -> Chat:
    """Return the chat of a message; a new one is wired to the link's default agent, if it has one."""
    chat, is_new = Chat.objects.get_or_create(
        link_id=handle.link_id,
        platform_chat_id=message.place.chat_id,
        defaults={"org_id": handle.org_id, "kind": message.chat_kind, "title": message.chat_title[:200]},
    )
    if is_new:
        agent_id = Link.objects.values_list("default_agent_id", flat=True).get(id=handle.link_id)
        if agent_id is not None:
            is_direct = message.chat_kind == ChatKind.DIRECT
            Wiring.objects.create(
                org_id=handle.org_id,
                chat=chat,
                agent_id=agent_id,
                engage="always" if is_direct else "mention",
                session_mode=SessionMode.SHARED if is_direct else SessionMode.PER_THREAD,
            )
    return chat


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
        prompt=_prompt(message),
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


def _prompt(message: InboundMessage) -> str:
    """Put what was said since the last answer before the message itself, so that the agent knows the talk."""
    before = (
        InboundMessage.objects.filter(chat_id=message.chat_id, thread_id=message.thread_id, id__lt=message.id)
        .exclude(outcome__startswith="task:")
        .exclude(outcome__in=TAKEN)
        .exclude(outcome__startswith=HELD)
        .exclude(outcome__startswith=REFUSED)
        .exclude(text="")
        .filter(routed_at__isnull=False)
        .order_by("-id")
    )
    lines = []
    for earlier in before[:CONTEXT_MESSAGES]:
        lines.append(f"{earlier.sender_name or earlier.sender_id}: {earlier.text}")
    if not lines:
        return message.text
    context = "\n".join(reversed(lines))
    return f"Earlier in this chat:\n{context}\n\n{message.sender_name or 'Message'}: {message.text}"
