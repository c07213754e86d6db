"""What goes out: an answer's parts as rows, each sent under a lease, with a state that people can see."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from services.domain.chats.actions import read_link_config
from services.domain.chats.models import Chat, Delivery, DeliveryKind, DeliveryStatus
from services.domain.chats.places import DeliverTo
from services.domain.events.log import record_event
from services.domain.events.types import DeliveryChanged
from services.domain.outbox.jobs import SendDelivery, enqueue
from services.domain.ports.chat import Place
from services.domain.rooms.telling import tell_changed
from services.domain.tasks.models import ACTIVE, Task, TaskStatus
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

SEND_LEASE = timedelta(seconds=60)
ROOMS = "web"
CHANGE_PAUSE = timedelta(seconds=1)
MAX_ATTEMPTS = 12
LONGEST_BACKOFF_S = 900


@dataclass(frozen=True, slots=True)
class AnswerDue:
    """A finished task's answer, the platform it goes to, and the task's batch key."""

    kind: str
    text: str
    batch: str


@dataclass(frozen=True, slots=True)
class PartDue:
    """One part to send, leased. `config` is open: do not log it."""

    delivery_id: uuid.UUID
    lease_token: uuid.UUID
    kind: str
    config: dict[str, Any]
    place: Place
    text: str
    reply_to: str | None
    attempts: int
    what: DeliveryKind
    payload: dict[str, Any]
    target_message_id: str
    key: str
    """The same for every attempt, for a platform that can tell a repeat by it."""


@dataclass(frozen=True, slots=True)
class TypingPlace:
    """Where an active task should be shown as typing. `config` is open: do not log it."""

    kind: str
    config: dict[str, Any]
    place: Place


def find_answer(org_id: uuid.UUID, task_id: uuid.UUID) -> AnswerDue | None:
    """Return the answer of a finished task that somebody waits for in a chat, or None."""
    with tenant_transaction(org_id):
        task = Task.objects.filter(id=task_id, finished_at__isnull=False).first()
        found = _find_destination(task)
        if task is None or found is None:
            return None
        chat, _ = found
        return AnswerDue(chat.link.kind, _answer_text(task), f"task:{task.id}")


def queue_answer(org_id: uuid.UUID, task_id: uuid.UUID, parts: Sequence[str]) -> None:
    """Write an answer's rendered parts as deliveries, once. Queues: SendDelivery. Emits: DeliveryChanged."""
    with tenant_transaction(org_id):
        task = Task.objects.get(id=task_id)
        place = DeliverTo.model_validate(task.deliver_to)
        chat = Chat.objects.filter(id=place.chat_id).first()
        batch = f"task:{task_id}"
        if chat is None or Delivery.objects.filter(batch=batch).exists():
            return
        rows = [
            Delivery(
                org_id=org_id,
                link_id=chat.link_id,
                chat=chat,
                task=task,
                thread_id=place.thread_id,
                reply_to=place.reply_to if part == 0 else "",
                batch=batch,
                part=part,
                text=text,
            )
            for part, text in enumerate(parts)
        ]
        Delivery.objects.bulk_create(rows, ignore_conflicts=True)
        enqueue(SendDelivery(org_id=org_id, batch=batch))
        for row in rows:
            emit_changed(row)


def take_next_part(org_id: uuid.UUID, batch: str) -> PartDue | None:
    """Lease the first part of a batch that is not sent yet, if it is due; None otherwise.

    A part whose sender died holds an expired lease and is taken again: the platforms of this port have no key
    by which they would know a repeat, so a crash between the send and its record can send that part twice.
    """
    with tenant_transaction(org_id):
        row = (
            Delivery.objects.select_for_update(of=("self",))
            .select_related("link", "chat", "target")
            .filter(batch=batch)
            .exclude(status=DeliveryStatus.SENT)
            .order_by("part")
            .first()
        )
        moment = now()
        if row is None or row.status == DeliveryStatus.FAILED or row.next_attempt_at > moment:
            return None
        if row.status == DeliveryStatus.SENDING and row.lease_until and row.lease_until > moment:
            return None
        if row.target is not None and not _may_change(row, row.target):
            return None
        row.status = DeliveryStatus.SENDING
        row.attempts += 1
        row.lease_token, row.lease_until = uuid.uuid4(), moment + SEND_LEASE
        # If the sender dies, the sweep finds the part again when its lease is over.
        row.next_attempt_at = row.lease_until
        row.save()
        return PartDue(
            row.id,
            row.lease_token,
            row.link.kind,
            read_link_config(row.link),
            Place(row.chat.platform_chat_id, row.thread_id or None),
            row.text,
            row.reply_to or None,
            row.attempts,
            DeliveryKind(row.kind),
            row.payload or {},
            row.target.platform_message_id if row.target else str((row.payload or {}).get("message_id", "")),
            f"{row.batch}/{row.part}",
        )


def _may_change(row: Delivery, target: Delivery) -> bool:
    """Say whether a change can go out now. It waits for what it changes and for changes before it, or fails with it."""
    if target.status == DeliveryStatus.FAILED:
        row.status, row.error = DeliveryStatus.FAILED, "What this changes was never sent."
        row.save(update_fields=["status", "error"])
        emit_changed(row)
        return False
    waiting = (DeliveryStatus.QUEUED, DeliveryStatus.SENDING)
    is_behind = target.changes.filter(id__lt=row.id, status__in=waiting).exclude(id=row.id).exists()
    if target.status == DeliveryStatus.SENT and not is_behind:
        return True
    row.next_attempt_at = now() + CHANGE_PAUSE
    row.save(update_fields=["next_attempt_at"])
    enqueue(SendDelivery(org_id=row.org_id, batch=row.batch), not_before=row.next_attempt_at)
    return False


def note_part_sent(org_id: uuid.UUID, part: PartDue, message_id: str) -> None:
    """Record that the platform took a part. Emits: DeliveryChanged."""
    _settle(
        org_id,
        part,
        status=DeliveryStatus.SENT,
        platform_message_id=message_id[:120],
        sent_at=now(),
        error="",
    )


def note_part_delayed(org_id: uuid.UUID, part: PartDue, *, error: str, retry_after_s: float | None) -> None:
    """Put a part back for later, by the platform's own word or by doubling; the last attempt fails it."""
    if part.attempts >= MAX_ATTEMPTS:
        note_part_failed(org_id, part, error=error)
        return
    wait_s = max(retry_after_s or 0.0, min(2.0 ** (part.attempts - 1), LONGEST_BACKOFF_S))
    _settle(
        org_id,
        part,
        status=DeliveryStatus.QUEUED,
        error=error[:300],
        next_attempt_at=now() + timedelta(seconds=wait_s),
    )


def note_part_failed(org_id: uuid.UUID, part: PartDue, *, error: str) -> None:
    """Record that a part cannot be delivered. Emits: DeliveryChanged."""
    _settle(org_id, part, status=DeliveryStatus.FAILED, error=error[:300])


def all_tenants_due_batches(*, limit: int = 200) -> list[tuple[uuid.UUID, str]]:
    """List the batches that have a part due whose job may have been lost or delayed."""
    rows = (
        Delivery.objects.using("operator")
        .filter(status__in=(DeliveryStatus.QUEUED, DeliveryStatus.SENDING), next_attempt_at__lte=now())
        .values_list("org_id", "batch")
        .distinct()
    )
    return list(rows[:limit])


def find_typing_place(org_id: uuid.UUID, task_id: uuid.UUID) -> TypingPlace | None:
    """Return where an active task should be shown as typing, or None."""
    with tenant_transaction(org_id):
        task = Task.objects.filter(id=task_id, status__in=ACTIVE).first()
        found = _find_destination(task)
        if found is None:
            return None
        chat, place = found
        return TypingPlace(
            chat.link.kind, read_link_config(chat.link), Place(chat.platform_chat_id, place.thread_id or None)
        )


def all_tenants_typing_tasks(*, limit: int = 200) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """List the active tasks that a chat waits for."""
    rows = Task.objects.using("operator").filter(status__in=ACTIVE, deliver_to__isnull=False)
    return list(rows.values_list("org_id", "id")[:limit])


def _find_destination(task: Task | None) -> tuple[Chat, DeliverTo] | None:
    """Return the chat that waits for a task, with the place in it, or None when nobody does (any more)."""
    if task is None or not task.deliver_to:
        return None
    place = DeliverTo.model_validate(task.deliver_to)
    chat = Chat.objects.select_related("link").filter(id=place.chat_id).first()
    return (chat, place) if chat is not None else None


def _settle(org_id: uuid.UUID, part: PartDue, **values: Any) -> None:
    with tenant_transaction(org_id):
        held = Delivery.objects.filter(id=part.delivery_id, lease_token=part.lease_token)
        if held.update(lease_token=None, lease_until=None, **values):
            emit_changed(Delivery.objects.select_related("task", "chat__link").get(id=part.delivery_id))


def emit_changed(row: Delivery) -> None:
    """Tell those who follow the task's workspace, or the room, how far a delivery is; in the tenant's transaction."""
    if row.chat.link.kind == ROOMS:
        tell_changed(row.chat)
    if row.task is not None:
        data = DeliveryChanged(delivery_id=str(row.id), status=row.status, error=row.error)
        record_event(f"workspace:{row.task.workspace_id}", data, task_id=row.task.id, turn=row.task.turn)


def _answer_text(task: Task) -> str:
    """Word an answer so that nobody is met with silence, whatever became of the task."""
    text = task.result_text.strip()
    match task.status:
        case TaskStatus.SUCCEEDED:
            return text or "Done. There was no text to show."
        case TaskStatus.CANCELLED:
            return "Cancelled."
        case TaskStatus.EXPIRED:
            return f"I ran out of time ({task.timeout_s} s)." + (f"\n\n{text}" if text else "")
        case _:
            return f"That did not work: {task.error_message or task.error_code}" + (
                f"\n\n{text}" if text else ""
            )
