"""Telling people that something could not be delivered: in the chat that asked for it, and on their streams. Once."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from services.domain.chats.models import Delivery, DeliveryStatus
from services.domain.chats.sending import Piece, Spot, write_message
from services.domain.contacts.destinations import find_origin
from services.domain.events.types import NotificationCreated
from services.domain.identity.models import Membership
from services.domain.push.telling import tell_person
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

# What tells of a dead letter is reported to nobody when it dies itself.
DEAD_LETTER = "dead:"
_EXCERPT = 80


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What to say, in Markdown, and the kind of platform of the chat that asked; empty where no chat did."""

    text: str
    kind: str


def find_dead_letter(org_id: uuid.UUID, delivery_id: uuid.UUID) -> DeadLetter | None:
    """Return what is to be told of a delivery that failed, None when that was done or nobody is to be told."""
    with tenant_transaction(org_id):
        row = _find(delivery_id, locked=False)
        if row is None:
            return None
        origin = _origin(row)
        return DeadLetter(_words(row, origin), origin.chat.link.kind if origin else "")


def tell_dead_letter(org_id: uuid.UUID, delivery_id: uuid.UUID, parts: Sequence[str]) -> None:
    """Tell of a failed delivery, once: in the chat that asked, with the rendered parts, and who the work was for.

    Without a person, whoever runs the organisation. Locks: the delivery. Emits: NotificationCreated, DeliveryChanged.
    """
    with tenant_transaction(org_id):
        row = _find(delivery_id, locked=True)
        if row is None:
            return
        row.reported_at = now()
        row.save(update_fields=["reported_at"])
        origin = _origin(row)
        if origin is not None and parts:
            pieces = [Piece(part) for part in parts]
            write_message(origin, pieces, batch=f"{DEAD_LETTER}{row.id}", task=row.task)
        notify_concerned(row.task, _words(row, None))


def notify_concerned(task: Task | None, message: str) -> None:
    """Notify the person that a task works for, else the owners and admins. In the tenant's transaction.

    Emits: NotificationCreated. Queues: SendPush.
    """
    if task is not None and task.user_id is not None:
        people = [task.user_id]
    else:
        admins = Membership.objects.filter(role__in=("owner", "admin"), user__is_active=True)
        people = list(admins.values_list("user_id", flat=True))
    for person in people:
        tell_person(
            person,
            NotificationCreated(
                message=message[:4_000], urgency="high", task_id=str(task.id) if task is not None else None
            ),
            task_id=task.id if task is not None else None,
        )


def _find(delivery_id: uuid.UUID, *, locked: bool) -> Delivery | None:
    rows = Delivery.objects.select_related("chat__link", "task")
    if locked:
        rows = rows.select_for_update(of=("self",))
    unreported = rows.filter(id=delivery_id, status=DeliveryStatus.FAILED, reported_at=None)
    return unreported.exclude(batch__startswith=DEAD_LETTER).first()


def _origin(row: Delivery) -> Spot | None:
    """Return the chat to tell: the one that asked, or, where nobody did, the one that should have got it."""
    if row.task is None:
        return Spot(row.chat, row.thread_id, row.reply_to)
    return find_origin(row.task)


def _words(row: Delivery, origin: Spot | None) -> str:
    is_here = origin is not None and origin.chat.id == row.chat_id
    where = "here" if is_here else f"to {row.chat.title or row.chat.platform_chat_id} ({row.chat.link.kind})"
    said = " ".join(row.text.split())
    excerpt = said if len(said) <= _EXCERPT else f"{said[:_EXCERPT]}…"
    # Rendered text may hold the platform's own markup; as code it is shown as it is.
    about = f" It begins: `{excerpt.replace('`', '´')}`" if excerpt else ""
    return f"A message could not be delivered {where}: {row.error}{about}"
