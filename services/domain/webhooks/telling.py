"""Writing down what webhooks are to be told, in the transaction of what happened: nothing is lost, nothing is early."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from services.domain.outbox.jobs import SendWebhook, enqueue
from services.domain.webhooks.models import WebhookDelivery
from services.kit.clock import now, rfc3339

LIFE = timedelta(hours=24)
"""For so long a delivery is tried."""
PING = "webhook.ping"


@dataclass(frozen=True, slots=True)
class Told:
    """An event, in the form that clients get, and the addresses that want its type."""

    envelope: dict[str, Any]
    endpoint_ids: Sequence[uuid.UUID]


def tell_webhooks(org_id: uuid.UUID, told: Sequence[Told], *, using: str) -> None:
    """Write a delivery for each event and address, in the open transaction. Queues: SendWebhook."""
    rows = [
        new_delivery(org_id, endpoint_id, one.envelope) for one in told for endpoint_id in one.endpoint_ids
    ]
    if not rows:
        return
    WebhookDelivery.objects.using(using).bulk_create(rows)
    for row in rows:
        enqueue(SendWebhook(org_id=org_id, delivery_id=row.id), using=using)


def new_delivery(org_id: uuid.UUID, endpoint_id: uuid.UUID, envelope: dict[str, Any]) -> WebhookDelivery:
    """Return a delivery, not yet written. Its body has the members of Standard Webhooks, and the event's place."""
    body = {
        "type": envelope["type"],
        "timestamp": envelope["at"],
        "data": envelope["data"],
        "organisation_id": str(org_id),
        "stream": envelope.get("stream"),
        "seq": envelope.get("seq"),
        "task_id": envelope.get("task_id"),
        "turn": envelope.get("turn"),
    }
    return WebhookDelivery(
        org_id=org_id,
        endpoint_id=endpoint_id,
        event_type=envelope["type"],
        stream=envelope.get("stream") or "",
        seq=envelope.get("seq"),
        body=body,
        expires_at=now() + LIFE,
    )


def ping(org_id: uuid.UUID, endpoint_id: uuid.UUID) -> dict[str, Any]:
    """Return the event that a test sends."""
    return {"type": PING, "at": rfc3339(now()), "data": {"webhook_id": str(endpoint_id)}}
