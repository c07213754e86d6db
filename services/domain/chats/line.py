"""Who comes first at a place: answers of one conversation, and messages of one chat and thread.

An answer has its place in the line from the moment in which its task ends (`Task.answer_due_at`), so that it does not
matter in which order the jobs run that write answers down. A message has it by its row. Whoever goes out, or will never
go, wakes the next.
"""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.db.models import Exists, OuterRef, Q, QuerySet

from services.domain.chats.models import SENDS, Delivery, DeliveryAttempt, DeliveryStatus
from services.domain.outbox.jobs import SendDelivery, enqueue
from services.domain.tasks.models import Task
from services.kit.clock import now

# For how long after its first attempt a message that meets trouble holds up later ones. After that they pass it.
PATIENCE = timedelta(minutes=5)
# That a sender died is no trouble of the message's own, but when so many did.
MOST_DEATHS = 10
DIED = "Whoever sent it has died."
WAITING = (DeliveryStatus.QUEUED, DeliveryStatus.SENDING)
# What is to go out later than this, by its writer's wish, holds up nobody until then.
_SOON = timedelta(seconds=60)


def answers_due(task: Task) -> QuerySet[Task]:
    """Return the ended tasks of a task's workspace whose answers to its chat and thread are not written down yet."""
    place = task.deliver_to or {}
    due = Task.objects.filter(workspace_id=task.workspace_id, answer_due_at__isnull=False)
    return due.filter(
        deliver_to__chat_id=place.get("chat_id", ""), deliver_to__thread_id=place.get("thread_id", "")
    ).order_by("id")


def is_behind(chat_id: uuid.UUID, thread_id: str, row: Delivery | None = None) -> bool:
    """Say whether messages of a chat and thread wait to go out: before one that is given, or any.

    One that its platform has not taken for longer than PATIENCE is passed. Inside the tenant's transaction.
    """
    moment = now()
    has_trouble = DeliveryAttempt.objects.exclude(Q(outcome="") | Q(note=DIED)).filter(
        delivery=OuterRef("id"), started_at__lte=moment - PATIENCE
    )
    waiting = _in_line(chat_id, thread_id).filter(
        Q(attempts__gt=0) | Q(next_attempt_at__lte=moment + _SOON),
        ~Exists(has_trouble),
        status__in=WAITING,
        attempts__lt=MOST_DEATHS,
    )
    if row is not None:
        waiting = waiting.filter(id__lt=row.id).exclude(batch=row.batch)
    return waiting.exists()


def wake_next(row: Delivery) -> None:
    """Have the message sent that waits behind one that went out, or never will. Queues: SendDelivery."""
    behind = _in_line(row.chat_id, row.thread_id).filter(
        id__gt=row.id, status=DeliveryStatus.QUEUED, next_attempt_at__lte=now()
    )
    batch = behind.exclude(batch=row.batch).order_by("id").values_list("batch", flat=True).first()
    if batch is not None:
        enqueue(SendDelivery(org_id=row.org_id, batch=batch))


def _in_line(chat_id: uuid.UUID, thread_id: str) -> QuerySet[Delivery]:
    return Delivery.objects.filter(chat_id=chat_id, thread_id=thread_id, kind__in=SENDS)
