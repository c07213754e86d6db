"""Sending one delivery: claimed by a lease, applied by who holds it, retried for a day, given up with a notice."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from services.domain.events.types import NotificationCreated
from services.domain.identity.models import Membership, Role
from services.domain.outbox.jobs import SendWebhook, enqueue
from services.domain.push.telling import tell_person
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.webhooks.actions import secrets_of
from services.domain.webhooks.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint, WebhookStatus
from services.kit.clock import now

LEASE = timedelta(minutes=2)
"""Longer than a call can take; after that somebody else may send it."""
WAITS_S = (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 14_400, 14_400, 14_400)
"""Before the second attempt, the third, …: about 21 hours; what does not fit into 24 is not tried."""
KEPT = timedelta(days=30)
GONE = 410
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class WebhookDue:
    """What to send. `secrets` are open: do not log them."""

    delivery_id: uuid.UUID
    url: str
    secrets: list[str]
    body: dict[str, Any]
    number: int


@dataclass(frozen=True, slots=True)
class CallResult:
    """What came of a call: an answer with its status and beginning, or why there was none."""

    duration_ms: int
    status_code: int | None = None
    error: str = ""
    answer: str = ""

    @property
    def is_taken(self) -> bool:
        """Say whether the receiver has it."""
        return self.status_code is not None and 200 <= self.status_code < 300


def claim_webhook(org_id: uuid.UUID, delivery_id: uuid.UUID) -> WebhookDue | None:
    """Take a delivery that is due, for as long as the lease; None when there is nothing to do.

    Locks: the delivery. What is for a webhook that is switched off fails.
    """
    with tenant_transaction(org_id):
        rows = WebhookDelivery.objects.select_for_update()
        row = rows.filter(id=delivery_id, status=WebhookStatus.QUEUED, next_attempt_at__lte=now()).first()
        if row is None:
            return None
        endpoint = WebhookEndpoint.objects.filter(id=row.endpoint_id).first()
        if endpoint is None:
            # It was removed while this was written.
            row.delete()
            return None
        if not endpoint.is_enabled:
            _end(row, WebhookStatus.FAILED, "The webhook is switched off.")
            return None
        row.attempts += 1
        row.next_attempt_at = now() + LEASE
        row.save(update_fields=["attempts", "next_attempt_at"])
        return WebhookDue(row.id, endpoint.url, secrets_of(endpoint), row.body, row.attempts)


def apply_webhook(org_id: uuid.UUID, due: WebhookDue, result: CallResult) -> None:
    """Record an attempt and what follows; one whose lease somebody else has taken over changes nothing more.

    Locks: the delivery, then its webhook. Queues: SendWebhook. Emits: NotificationCreated when it is given up.
    """
    with tenant_transaction(org_id):
        row = WebhookDelivery.objects.select_for_update().filter(id=due.delivery_id).first()
        if row is None:
            return
        endpoint = WebhookEndpoint.objects.select_for_update().filter(id=row.endpoint_id).first()
        if endpoint is None:
            return
        WebhookAttempt.objects.create(
            org_id=org_id, delivery=row, number=due.number, duration_ms=result.duration_ms,
            status_code=result.status_code, error=result.error[:200], answer=result.answer[:1_000],
        )  # fmt: skip
        if row.attempts != due.number or row.status != WebhookStatus.QUEUED:
            return
        if result.is_taken:
            endpoint.last_success_at = now()
            endpoint.save(update_fields=["last_success_at"])
            _end(row, WebhookStatus.SENT)
            return
        endpoint.last_failure_at = now()
        endpoint.save(update_fields=["last_failure_at"])
        _try_later(row, endpoint, result)


def all_tenants_due_webhooks() -> list[SendWebhook]:
    """Return the deliveries whose job was lost, or whose sender died."""
    rows = WebhookDelivery.objects.using("operator").filter(
        status=WebhookStatus.QUEUED, next_attempt_at__lte=now() - timedelta(seconds=30)
    )
    found = rows.order_by("next_attempt_at").values_list("org_id", "id")[:_AT_ONCE]
    return [SendWebhook(org_id=org_id, delivery_id=delivery_id) for org_id, delivery_id in found]


def all_tenants_forget_webhooks() -> None:
    """Delete what was told long ago, a part at a time."""
    rows = WebhookDelivery.objects.using("operator").filter(created_at__lt=now() - KEPT)
    old = rows.exclude(status=WebhookStatus.QUEUED).order_by("created_at").values_list("id", flat=True)
    WebhookDelivery.objects.using("operator").filter(id__in=list(old[:_AT_ONCE])).delete()


def _try_later(row: WebhookDelivery, endpoint: WebhookEndpoint, result: CallResult) -> None:
    error = result.error or f"The receiver answered {result.status_code}."
    at = now() + timedelta(seconds=WAITS_S[min(row.attempts, len(WAITS_S)) - 1])
    if result.status_code == GONE:
        _end(row, WebhookStatus.FAILED, error)
        _give_up(endpoint, "It answered 410: it wants nothing more.")
    elif at < row.expires_at:
        row.error, row.next_attempt_at = error[:200], at
        row.save(update_fields=["error", "next_attempt_at"])
        enqueue(SendWebhook(org_id=row.org_id, delivery_id=row.id), not_before=at)
    else:
        _end(row, WebhookStatus.FAILED, error)
        began_at = row.expires_at - timedelta(hours=24)
        if endpoint.last_success_at is None or endpoint.last_success_at < began_at:
            _give_up(endpoint, f"It took nothing for a day. {error}")


def _end(row: WebhookDelivery, status: WebhookStatus, error: str = "") -> None:
    row.status, row.error, row.finished_at = status, error[:200], now()
    row.save(update_fields=["status", "error", "finished_at"])


def _give_up(endpoint: WebhookEndpoint, reason: str) -> None:
    """Switch a webhook off and tell the owners, once."""
    if not endpoint.is_enabled:
        return
    endpoint.is_enabled, endpoint.disabled_reason, endpoint.updated_at = False, reason[:200], now()
    endpoint.save(update_fields=["is_enabled", "disabled_reason", "updated_at"])
    said = NotificationCreated(
        message=f"The webhook {endpoint.name} was switched off. {reason}", urgency="high"
    )
    for user_id in Membership.objects.filter(role=Role.OWNER).values_list("user_id", flat=True):
        tell_person(user_id, said)
