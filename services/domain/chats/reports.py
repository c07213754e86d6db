"""What a platform tells afterwards of what went out: how far it has come, or that it failed after all."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta

from services.domain.chats.inbound import LinkHandle
from services.domain.chats.line import WAITING
from services.domain.chats.models import (
    SENDS,
    AttemptOutcome,
    Delivery,
    DeliveryAttempt,
    DeliveryKind,
    DeliveryStatus,
)
from services.domain.chats.outbound import emit_changed, fail_row, note_part_reported
from services.domain.outbox.jobs import NoteFailure, SendDelivery, enqueue
from services.domain.ports.chat import InboundReport, ReportState
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

OPENS_CHAT = "opens_chat"
# A platform may tell of a message before its sender has written down which one it was.
LATE = timedelta(seconds=15)
_RANKS = {"": 0, ReportState.SENT: 1, ReportState.DELIVERED: 2, ReportState.READ: 3}


def store_reports(handle: LinkHandle, reports: Sequence[InboundReport]) -> int:
    """Note verified reports; returns how many said something new. Safe to call again, in any order.

    One that has the key of a delivery whose sender died before it could record it is the record.
    Locks: each delivery. Emits: DeliveryChanged. Queues: what `note_failure` does; NoteFailure for the failure of a
    message that is not on record yet; what `note_part_reported` does.
    """
    new = 0
    for report in reports:
        with tenant_transaction(handle.org_id):
            row = _lock(handle.link_id, report.message_id)
            if row is None and report.key and report.state is not ReportState.FAILED:
                row = _lock_waiting(handle.link_id, report.key)
                if row is not None:
                    note_part_reported(row, report.message_id)
            if row is not None:
                new += _note(row, report)
            elif report.state is ReportState.FAILED:
                late = NoteFailure(
                    org_id=handle.org_id,
                    link_id=handle.link_id,
                    message_id=report.message_id,
                    reason=report.reason,
                    may_open=report.may_open,
                )
                enqueue(late, not_before=now() + LATE)
    return new


def note_failure(job: NoteFailure) -> None:
    """Note a failure that came before its message was on record. What is not there now was not sent by us.

    Locks: the delivery. Emits: DeliveryChanged. Queues: SendDelivery, or ReportDeadDelivery.
    """
    with tenant_transaction(job.org_id):
        row = _lock(job.link_id, job.message_id)
        if row is not None:
            _fail(row, job.reason, may_open=job.may_open)


def _lock(link_id: uuid.UUID, message_id: str) -> Delivery | None:
    rows = Delivery.objects.select_for_update(of=("self",)).select_related("task", "chat__link")
    return rows.filter(link_id=link_id, platform_message_id=message_id[:120], kind__in=SENDS).first()


def _lock_waiting(link_id: uuid.UUID, key: str) -> Delivery | None:
    """Lock the delivery with a key (`PartDue.key`) that was tried and is not on record as sent."""
    batch, _, part = key.rpartition("/")
    if not (part.isascii() and part.isdigit() and len(part) < 5):
        return None
    rows = Delivery.objects.select_for_update(of=("self",)).select_related("task", "chat__link")
    waiting = rows.filter(link_id=link_id, kind__in=SENDS, status__in=WAITING, attempts__gt=0)
    return waiting.filter(batch=batch, part=int(part)).first()


def _note(row: Delivery, report: InboundReport) -> bool:
    if report.state is ReportState.FAILED:
        return _fail(row, report.reason, may_open=report.may_open)
    if _RANKS[row.reached] >= _RANKS[report.state]:
        return False
    row.reached, row.reached_at = report.state, report.reported_at
    row.save(update_fields=["reached", "reached_at"])
    emit_changed(row)
    return True


def _fail(row: Delivery, reason: str, *, may_open: bool) -> bool:
    """End a delivery that had gone out, or send it once more in the form that reaches a closed chat."""
    if row.status != DeliveryStatus.SENT or _RANKS[row.reached] >= _RANKS[ReportState.DELIVERED]:
        return False
    moment = now()
    DeliveryAttempt.objects.create(
        org_id=row.org_id,
        delivery=row,
        started_at=moment,
        finished_at=moment,
        outcome=AttemptOutcome.REFUSED,
        note=f"The platform told of it afterwards. {reason}"[:300],
    )
    payload = row.payload or {}
    if not may_open or row.kind == DeliveryKind.FILE or OPENS_CHAT in payload:
        fail_row(row, reason)
        return True
    row.status, row.error, row.payload = DeliveryStatus.QUEUED, reason[:300], {**payload, OPENS_CHAT: True}
    row.platform_message_id, row.reached, row.sent_at, row.next_attempt_at = "", "", None, now()
    row.save()
    enqueue(SendDelivery(org_id=row.org_id, batch=row.batch))
    emit_changed(row)
    return True
