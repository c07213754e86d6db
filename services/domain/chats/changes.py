"""What people do to their messages afterwards, and the platform's own stop button: kept once, then dealt with."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.domain.chats.claiming_threads import CLAIMED
from services.domain.chats.inbound import LinkHandle
from services.domain.chats.models import Chat, Decision, InboundEvent, InboundEventKind, InboundMessage
from services.domain.chats.prompting import prompt_of
from services.domain.chats.queries import lock_chat
from services.domain.chats.stopping import stop_turns
from services.domain.events.log import NewEvent, record_events
from services.domain.events.types import MessageEdited
from services.domain.media.telling import with_files
from services.domain.outbox.jobs import HandleInboundEvent, enqueue
from services.domain.ports.chat import InboundChange, InboundStop, Place, Sender
from services.domain.tasks.finish import Outcome, finish_locked_task
from services.domain.tasks.models import Task, TaskStatus
from services.domain.tasks.submit import lock_task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

CONTEXT = "context"
EARLY = "no_message"


def store_changes(handle: LinkHandle, changes: Sequence[InboundChange]) -> int:
    """Keep verified edits and deletions, each once; returns how many were new. Queues: HandleInboundEvent."""
    return sum(
        _keep(
            handle,
            _Happened(
                InboundEventKind(change.kind),
                change.dedupe_key,
                change.place,
                change.sender,
                change.changed_at,
                change.message_id,
                change.text,
            ),
        )
        for change in changes
    )


def store_stops(handle: LinkHandle, stops: Sequence[InboundStop]) -> int:
    """Keep verified wishes that the agent stops, each once; returns how many were new. Queues: HandleInboundEvent."""
    return sum(
        _keep(handle, _Happened(InboundEventKind.STOPPED, stop.dedupe_key, stop.place, stop.sender, now()))
        for stop in stops
    )


def handle_event(org_id: uuid.UUID, event_id: uuid.UUID) -> str | None:
    """Do what follows from one event, once; returns what became of it, None when that was done before.

    Locks: the chat, then the event, then the message or the tasks. Emits: MessageEdited, and what ending a task does.
    """
    with tenant_transaction(org_id):
        chat_id = InboundEvent.objects.filter(id=event_id).values_list("chat_id", flat=True).first()
        if chat_id is None:
            return None
        lock_chat(chat_id)
        event = (
            InboundEvent.objects.select_for_update(of=("self",))
            .select_related("chat__link")
            .filter(id=event_id, handled_at=None)
            .first()
        )
        if event is None:
            return None
        outcome = _stop(event) if event.kind == InboundEventKind.STOPPED else _change(event)
        event.handled_at, event.outcome = now(), outcome
        event.save(update_fields=["handled_at", "outcome"])
        return outcome


def apply_early_changes(message: InboundMessage) -> None:
    """Apply what was done to a message before it came itself: platforms keep no order over their retries.

    Inside the transaction that routes it, under the chat's lock.
    """
    early = InboundEvent.objects.filter(
        chat_id=message.chat_id, platform_message_id=message.platform_message_id, outcome=EARLY
    )
    for event in early.order_by("id"):
        _write(message, event)
        event.outcome = "changed"
        event.save(update_fields=["outcome"])


@dataclass(frozen=True, slots=True)
class _Happened:
    kind: InboundEventKind
    dedupe_key: str
    place: Place
    sender: Sender
    at: datetime
    message_id: str = ""
    text: str = ""


def _keep(handle: LinkHandle, happened: _Happened) -> bool:
    with tenant_transaction(handle.org_id):
        # Where nobody has spoken to us there is nothing to change or to stop.
        chat = Chat.objects.filter(link_id=handle.link_id, platform_chat_id=happened.place.chat_id).first()
        if chat is None:
            return False
        row, is_new = InboundEvent.objects.get_or_create(
            link_id=handle.link_id,
            dedupe_key=happened.dedupe_key[:200],
            defaults={
                "org_id": handle.org_id,
                "chat": chat,
                "kind": happened.kind,
                "thread_id": happened.place.thread_id or "",
                "platform_message_id": happened.message_id[:120],
                "sender_id": happened.sender.platform_id[:120],
                "sender_name": happened.sender.display_name[:200],
                "text": happened.text.replace("\x00", ""),
                "happened_at": happened.at,
            },
        )
        if is_new:
            enqueue(HandleInboundEvent(org_id=handle.org_id, event_id=row.id))
        return is_new


def _stop(event: InboundEvent) -> str:
    stopped = stop_turns(event.chat, event.thread_id, event.sender_id)
    if stopped.is_refused:
        return "refused"
    return "stopped" if stopped.count else "nothing_at_work"


def _change(event: InboundEvent) -> str:
    message = (
        InboundMessage.objects.select_for_update(of=("self",))
        .select_related("chat", "link")
        .filter(chat=event.chat, platform_message_id=event.platform_message_id)
        # The press of a card's button is kept under the card's own id.
        .exclude(dedupe_key__startswith="press:")
        .order_by("-id")
        .first()
    )
    if message is None:
        return EARLY
    if message.deleted_at is not None:
        return "deleted_before"
    if event.kind == InboundEventKind.EDITED and message.text == event.text:
        # Platforms report more than the writer's edits, such as the preview of a link.
        return "unchanged"
    _write(message, event)
    is_taken = False
    for agent_id, task_id in _list_tasks_of(message):
        task = lock_task(task_id)
        if task.status == TaskStatus.QUEUED:
            _change_queued(task, message, agent_id)
        else:
            is_taken = True
    return CONTEXT if is_taken else "changed"


def _write(message: InboundMessage, event: InboundEvent) -> None:
    if event.kind == InboundEventKind.DELETED:
        message.text, message.deleted_at = "", event.happened_at
    else:
        message.text, message.edited_at = event.text, event.happened_at
    message.save(update_fields=["text", "edited_at", "deleted_at"])


def _change_queued(task: Task, message: InboundMessage, agent_id: uuid.UUID | None) -> None:
    """Let a turn that has not begun begin with what the message says now, or not at all."""
    if message.deleted_at is not None:
        # Who deletes a question waits for no answer.
        task.deliver_to = None
        finish_locked_task(
            task, Outcome("cancelled", error=("message_deleted", "Its writer deleted the message."))
        )
        return
    task.prompt = prompt_of(message, agent_id) if agent_id else with_files([message])[0]
    task.save(update_fields=["prompt"])
    edited = NewEvent(MessageEdited(text=task.prompt), task.id, task.turn)
    record_events(f"workspace:{task.workspace_id}", [edited])


def _list_tasks_of(message: InboundMessage) -> list[tuple[uuid.UUID | None, uuid.UUID]]:
    """List the tasks that a message became or went into, each with the agent of its wiring; none for a claim's."""
    if message.outcome.startswith(f"{CLAIMED} task: "):
        return [(None, uuid.UUID(message.outcome.removeprefix(f"{CLAIMED} task: ")))]
    decision = Decision.objects.filter(message=message).first()
    entries = decision.wirings if decision is not None else []
    return [
        (uuid.UUID(entry["agent_id"]), uuid.UUID(entry["task_id"])) for entry in entries if entry["task_id"]
    ]
