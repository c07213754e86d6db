"""What goes out: parts of messages as rows, each sent under a lease, with every attempt on record."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Min

from services.domain.chats.actions import read_link_config
from services.domain.chats.line import DIED, WAITING, is_behind, wake_next
from services.domain.chats.models import (
    DELIVERY_LIFE,
    SENDS,
    AttemptOutcome,
    Delivery,
    DeliveryAttempt,
    DeliveryKind,
    DeliveryStatus,
)
from services.domain.events.announcing import announce_change
from services.domain.events.listed import DeliveryChanged
from services.domain.events.log import record_event
from services.domain.outbox.jobs import ReportDeadDelivery, SendDelivery, enqueue
from services.domain.ports.chat import ChatKind, Place
from services.domain.rooms.telling import KIND as ROOMS_KIND
from services.domain.rooms.telling import tell_changed
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

SEND_LEASE = timedelta(seconds=60)
CHANGE_PAUSE = timedelta(seconds=1)
LONGEST_BACKOFF_S = 900
REPORTED = "The platform told of it before its sender had recorded it."


@dataclass(frozen=True, slots=True)
class PartDue:
    """One part to send, leased. `config` is open: do not log it."""

    org_id: uuid.UUID
    delivery_id: uuid.UUID
    lease_token: uuid.UUID
    kind: str
    config: dict[str, Any]
    link_id: uuid.UUID
    chat_id: uuid.UUID
    chat_kind: ChatKind
    place: Place
    text: str
    reply_to: str | None
    attempts: int
    unknown_since: datetime | None
    """Since when an attempt may have sent it: its sender died, or the platform took it and did not answer."""
    what: DeliveryKind
    payload: dict[str, Any]
    target_message_id: str
    key: str
    """The same for every attempt, for a platform that can tell a repeat by it."""

    @property
    def is_after_unknown(self) -> bool:
        """Say whether an attempt before this one may have sent it."""
        return self.unknown_since is not None


def take_next_part(org_id: uuid.UUID, batch: str) -> PartDue | None:
    """Lease the first part of a batch that is not sent yet, if it is due; None otherwise. Opens an attempt.

    A part whose sender died holds an expired lease and is taken again, with that attempt on record as `unknown`.
    What is too old fails. A message that is behind earlier ones of its chat and thread stays as it is: they wake it.
    """
    with tenant_transaction(org_id):
        row = (
            Delivery.objects.select_for_update(of=("self",))
            .select_related("link", "chat__link", "target", "task")
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
        lost = DeliveryAttempt.objects.filter(delivery=row, outcome="")
        lost.update(outcome=AttemptOutcome.UNKNOWN, finished_at=moment, note=DIED)
        if (row.expires_at or row.created_at + DELIVERY_LIFE) <= moment:
            fail_row(row, f"Not delivered in time. {row.error}".strip())
            return None
        if row.target is not None and not _may_change(row, row.target):
            return None
        if row.kind in SENDS and is_behind(row.chat_id, row.thread_id, row):
            return None
        unknown = DeliveryAttempt.objects.filter(delivery=row, outcome=AttemptOutcome.UNKNOWN)
        began = unknown.order_by("id").values_list("started_at", flat=True).first()
        unknown_since = began if row.attempts > 0 else None
        row.status = DeliveryStatus.SENDING
        row.attempts += 1
        row.lease_token, row.lease_until = uuid.uuid4(), moment + SEND_LEASE
        # If the sender dies, the sweep finds the part again when its lease is over.
        row.next_attempt_at = row.lease_until
        row.save()
        announce_change(DeliveryChanged, row)
        DeliveryAttempt.objects.create(org_id=org_id, delivery=row, started_at=moment)
        return PartDue(
            org_id,
            row.id,
            row.lease_token,
            row.link.kind,
            read_link_config(row.link),
            row.link_id,
            row.chat_id,
            ChatKind(row.chat.kind),
            Place(row.chat.platform_chat_id, row.thread_id or None),
            row.text,
            row.reply_to or None,
            row.attempts,
            unknown_since,
            DeliveryKind(row.kind),
            row.payload or {},
            row.target.platform_message_id if row.target else str((row.payload or {}).get("message_id", "")),
            f"{row.batch}/{row.part}",
        )


def note_part_sent(
    org_id: uuid.UUID, part: PartDue, message_id: str, *, is_found: bool = False, note: str = ""
) -> None:
    """Record that the platform took a part; `is_found` says that an earlier attempt did it.

    Emits: DeliveryChanged. Queues: SendDelivery, for who waits behind it.
    """
    with tenant_transaction(org_id):
        row = _lock_held(part)
        if row is None:
            return
        row.status, row.platform_message_id, row.sent_at = DeliveryStatus.SENT, message_id[:120], now()
        row.error = ""
        _release(row, AttemptOutcome.FOUND if is_found else AttemptOutcome.SENT, note)
        wake_next(row)


def note_part_reported(row: Delivery, message_id: str) -> None:
    """Record of a delivery, locked and waiting, that the platform reported it under its key: it went out.

    Whoever sends it at this moment finds the lease gone. In the tenant's transaction.
    Emits: DeliveryChanged. Queues: SendDelivery, for the next part, and for who waits behind it.
    """
    row.status, row.platform_message_id, row.sent_at = DeliveryStatus.SENT, message_id[:120], now()
    row.error = ""
    _release(row, AttemptOutcome.FOUND, REPORTED)
    enqueue(SendDelivery(org_id=row.org_id, batch=row.batch))
    wake_next(row)


def find_unrecorded(part: PartDue, message_ids: Sequence[str]) -> str:
    """Return the first of a chat's messages that is on record as no delivery, or nothing."""
    with tenant_transaction(part.org_id):
        rows = Delivery.objects.filter(chat_id=part.chat_id, platform_message_id__in=message_ids)
        known = set(rows.values_list("platform_message_id", flat=True))
    return next((message_id for message_id in message_ids if message_id not in known), "")


def note_part_delayed(
    org_id: uuid.UUID,
    part: PartDue,
    *,
    error: str,
    retry_after_s: float | None,
    outcome: AttemptOutcome = AttemptOutcome.AWAY,
) -> None:
    """Put a part back for later, by the platform's own word or by doubling. Emits: DeliveryChanged.

    Queues: SendDelivery, for when it may go out again.
    """
    wait_s = max(retry_after_s or 0.0, min(2.0 ** min(part.attempts - 1, 20), LONGEST_BACKOFF_S))
    with tenant_transaction(org_id):
        row = _lock_held(part)
        if row is None:
            return
        row.status, row.error = DeliveryStatus.QUEUED, error[:300]
        row.next_attempt_at = now() + timedelta(seconds=wait_s)
        _release(row, outcome, error)
        enqueue(SendDelivery(org_id=org_id, batch=row.batch), not_before=row.next_attempt_at)


def note_part_failed(org_id: uuid.UUID, part: PartDue, *, error: str) -> None:
    """Record that a part cannot be delivered, nor what follows it.

    Emits: DeliveryChanged. Queues: ReportDeadDelivery.
    """
    with tenant_transaction(org_id):
        row = _lock_held(part)
        if row is None:
            return
        _close_attempt(row, AttemptOutcome.REFUSED, error)
        fail_row(row, error)


def put_back_part(org_id: uuid.UUID, part: PartDue, wait_s: float) -> None:
    """Give a part back that may not go out yet, as if it had not been taken. Queues: SendDelivery, for when it may."""
    with tenant_transaction(org_id):
        row = _lock_held(part)
        if row is None:
            return
        DeliveryAttempt.objects.filter(delivery=row, outcome="").delete()
        row.status, row.attempts = DeliveryStatus.QUEUED, row.attempts - 1
        row.next_attempt_at = now() + timedelta(seconds=wait_s)
        row.lease_token = row.lease_until = None
        row.save()
        announce_change(DeliveryChanged, row)
        enqueue(SendDelivery(org_id=org_id, batch=row.batch), not_before=row.next_attempt_at)


def all_tenants_due_batches(*, limit: int = 200) -> list[tuple[uuid.UUID, str]]:
    """List the batches that have a part due whose job may have been lost or delayed, the longest due first."""
    due = Delivery.objects.using("operator").filter(status__in=WAITING, next_attempt_at__lte=now())
    batches = due.values_list("org_id", "batch").annotate(since=Min("next_attempt_at")).order_by("since")
    return [(org_id, batch) for org_id, batch, _ in batches[:limit]]


def emit_changed(row: Delivery) -> None:
    """Tell those who follow the task's workspace, or the room, how far a delivery is; in the tenant's transaction."""
    if row.chat.link.kind == ROOMS_KIND:
        tell_changed(row.chat)
    announce_change(DeliveryChanged, row)
    if row.task is not None:
        data = DeliveryChanged.of(row, "updated")
        record_event(f"workspace:{row.task.workspace_id}", data, task_id=row.task.id, turn=row.task.turn)


def _may_change(row: Delivery, target: Delivery) -> bool:
    """Say whether a change can go out now. It waits for what it changes and for changes before it, or fails with it."""
    if target.status == DeliveryStatus.FAILED:
        fail_row(row, "What this changes was never sent.")
        return False
    is_behind = target.changes.filter(id__lt=row.id, status__in=WAITING).exclude(id=row.id).exists()
    if target.status == DeliveryStatus.SENT and not is_behind:
        return True
    _wait(row)
    return False


def _wait(row: Delivery) -> None:
    row.next_attempt_at = now() + CHANGE_PAUSE
    row.save(update_fields=["next_attempt_at"])
    enqueue(SendDelivery(org_id=row.org_id, batch=row.batch), not_before=row.next_attempt_at)


def _lock_held(part: PartDue) -> Delivery | None:
    """Lock the delivery of a part, None when somebody else has taken it since."""
    rows = Delivery.objects.select_for_update(of=("self",)).select_related("task", "chat__link")
    return rows.filter(id=part.delivery_id, lease_token=part.lease_token).first()


def _release(row: Delivery, outcome: AttemptOutcome, note: str) -> None:
    row.lease_token = row.lease_until = None
    row.save()
    _close_attempt(row, outcome, note)
    emit_changed(row)


def _close_attempt(row: Delivery, outcome: AttemptOutcome, note: str) -> None:
    open_ones = DeliveryAttempt.objects.filter(delivery=row, outcome="")
    open_ones.update(outcome=outcome, finished_at=now(), note=note[:300])


def fail_row(row: Delivery, error: str) -> None:
    """End a delivery that is locked, and with it the parts after it, which would make no sense alone.

    Emits: DeliveryChanged. Queues: ReportDeadDelivery, and SendDelivery for who waits behind it.
    """
    row.status, row.error = DeliveryStatus.FAILED, error[:300]
    row.lease_token = row.lease_until = None
    row.save()
    emit_changed(row)
    rest = Delivery.objects.select_related("task", "chat__link").filter(batch=row.batch, part__gt=row.part)
    for later in rest.filter(status=DeliveryStatus.QUEUED):
        later.status, later.error = DeliveryStatus.FAILED, "A part before this one could not be delivered."
        later.save(update_fields=["status", "error"])
        emit_changed(later)
    if row.kind in SENDS:
        enqueue(ReportDeadDelivery(org_id=row.org_id, delivery_id=row.id))
        wake_next(row)
