"""The pushes that are queued, for tests that send them."""

from __future__ import annotations

from services.domain.outbox.jobs import SendPush, parse_job
from services.domain.outbox.models import OutboxJob
from services.kit.clock import now


def due_pushes() -> list[SendPush]:
    """Take the pushes that are due out of the outbox."""
    rows = OutboxJob.objects.using("operator").filter(type="push.send", not_before__lte=now())
    found = []
    for row in list(rows.order_by("id")):
        row.delete(using="operator")
        job = parse_job(row.type, row.payload)
        assert isinstance(job, SendPush)
        found.append(job)
    return found
