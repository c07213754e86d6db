"""What agents send while they work: deliveries that are written once each, however often they are asked for."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.domain.chats.models import DELIVERY_LIFE, Chat, Delivery, DeliveryKind, DeliveryStatus
from services.domain.chats.outbound import emit_changed
from services.domain.errors import (
    Conflict,
    DeliveryMissing,
    MessageGone,
    RateLimited,
)
from services.domain.outbox.jobs import SendDelivery, enqueue
from services.domain.tasks.models import Task
from services.kit.clock import now

MAX_OF_A_TASK = 300
# What an agent said itself begins so. Cards of questions and approvals, notices and answers are the platform's.
SAID_BY_AGENT = "chat:"


@dataclass(frozen=True, slots=True)
class Spot:
    """Where something goes: a chat, a thread in it, the platform's id of the message that is answered."""

    chat: Chat
    thread_id: str = ""
    reply_to: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """One message to send, rendered. `payload` has what its kind needs."""

    text: str
    kind: DeliveryKind = DeliveryKind.TEXT
    payload: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """The deliveries of one message. `is_repeat`: they were there already, and nothing new is sent."""

    rows: list[Delivery] = field(default_factory=list)
    is_repeat: bool = False

    @property
    def first(self) -> Delivery:
        """Return the one by which the message is known."""
        return self.rows[0]


def batch_key(prefix: str, *parts: Any) -> str:
    """Return the same key for the same content."""
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
    return f"{prefix}:{digest[:40]}"


def write_message(
    spot: Spot,
    pieces: Sequence[Piece],
    *,
    batch: str,
    task: Task | None,
    not_before: datetime | None = None,
) -> Written:
    """Write a message's pieces as deliveries, once for each batch, inside the tenant's transaction.

    Raises: RateLimited after the task's three hundredth. Queues: SendDelivery. Emits: DeliveryChanged.
    """
    earlier = find_batch(batch)
    if earlier:
        return Written(earlier, is_repeat=True)
    if task is not None and batch.startswith(SAID_BY_AGENT):
        refuse_when_too_many(task)
    org_id, task_id = spot.chat.org_id, task.id if task is not None else None
    Delivery.objects.bulk_create(
        [
            Delivery(
                org_id=org_id,
                link_id=spot.chat.link_id,
                chat=spot.chat,
                task_id=task_id,
                thread_id=spot.thread_id,
                reply_to=spot.reply_to if part == 0 else "",
                batch=batch,
                part=part,
                kind=piece.kind,
                text=piece.text,
                payload=piece.payload,
                next_attempt_at=not_before or now(),
                expires_at=(not_before or now()) + DELIVERY_LIFE,
            )
            for part, piece in enumerate(pieces)
        ],
        ignore_conflicts=True,
    )
    rows = find_batch(batch)
    enqueue(SendDelivery(org_id=org_id, batch=batch), not_before=not_before)
    for row in rows:
        emit_changed(row)
    return Written(rows)


def write_change(target: Delivery, kind: DeliveryKind, *, text: str = "", task: Task | None) -> Written:
    """Write an edit or a deletion of an earlier delivery; the same again is written once.

    Locks: the target. Raises: MessageGone for one that was never sent, or was deleted. Queues: SendDelivery.
    """
    target = Delivery.objects.select_for_update(of=("self",)).select_related("chat").get(id=target.id)
    if target.status == DeliveryStatus.FAILED:
        raise MessageGone("This message was never sent.")
    changes = list(target.changes.exclude(kind=DeliveryKind.REACT).order_by("id"))
    last = changes[-1] if changes else None
    if last is not None and (last.kind, last.text) == (kind, text):
        return Written([last], is_repeat=True)
    if any(change.kind == DeliveryKind.DELETE for change in changes):
        raise MessageGone("This message was deleted.")
    if task is not None:
        refuse_when_too_many(task)
    row = Delivery.objects.create(
        org_id=target.org_id,
        link_id=target.link_id,
        chat=target.chat,
        task_id=task.id if task is not None else None,
        thread_id=target.thread_id,
        batch=f"{kind}:{target.id}:{len(changes)}",
        part=0,
        kind=kind,
        target=target,
        text=text,
    )
    enqueue(SendDelivery(org_id=target.org_id, batch=row.batch))
    emit_changed(row)
    return Written([row])


def find_batch(batch: str) -> list[Delivery]:
    """List the deliveries of a batch in order, inside the tenant's transaction."""
    return list(Delivery.objects.select_related("task", "chat", "link").filter(batch=batch).order_by("part"))


def get_own_delivery(task: Task, delivery_id: uuid.UUID) -> Delivery:
    """Return a message that this task's agent said itself, inside the tenant's transaction. Raises: DeliveryMissing.

    An agent's own are those of its tasks for the same person, without one those of its workspace.
    """
    sendable = (DeliveryKind.TEXT, DeliveryKind.CARD, DeliveryKind.FILE)
    row = (
        Delivery.objects.select_related("chat", "link", "task")
        .filter(
            id=delivery_id,
            kind__in=sendable,
            batch__startswith=SAID_BY_AGENT,
            task__agent_id=task.agent_id,
        )
        .first()
    )
    sender = row.task if row is not None else None
    is_theirs = sender is not None and (
        sender.user_id == task.user_id if task.user_id else sender.workspace_id == task.workspace_id
    )
    if row is None or not is_theirs:
        raise DeliveryMissing("You sent no such message. Give the message_id that sending it returned.")
    return row


def get_single(row: Delivery) -> Delivery:
    """Return a message that went out as one. Raises: Conflict for one of several parts."""
    if Delivery.objects.filter(batch=row.batch).count() > 1:
        raise Conflict("This message was so long that it went out as several. Send a new one instead.")
    return row


def refuse_when_too_many(task: Task) -> None:
    """Bound what one task may send. Raises: RateLimited."""
    if Delivery.objects.filter(task_id=task.id).count() >= MAX_OF_A_TASK:
        raise RateLimited(f"A task may send {MAX_OF_A_TASK} messages and changes.", limit=MAX_OF_A_TASK)
