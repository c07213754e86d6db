"""Jobs that failed for good: counting them, and putting one back."""

from __future__ import annotations

from django.db import transaction

from services.domain.errors import Conflict, Missing
from services.domain.outbox.models import DeadJob, OutboxJob
from services.kit.clock import now
from services.kit.redisbus import nudge


def all_tenants_count_dead_jobs() -> int:
    """Return how many dead jobs nobody has put back."""
    return DeadJob.objects.using("operator").filter(retried_at=None).count()


def all_tenants_count_outbox() -> int:
    """Return how many jobs wait for the relay."""
    return OutboxJob.objects.using("operator").count()


def all_tenants_put_back(dead_job_id: int) -> None:
    """Give a dead job a fresh start through the outbox, once. Raises: Missing, Conflict.

    Locks: the dead job's row, so that two operators put it back once.
    """
    with transaction.atomic(using="operator"):
        dead = DeadJob.objects.using("operator").select_for_update().filter(id=dead_job_id).first()
        if dead is None:
            raise Missing("There is no such job.")
        if dead.retried_at is not None:
            raise Conflict("The job was put back already.")
        dead.retried_at = now()
        dead.save(using="operator", update_fields=["retried_at"])
        OutboxJob.objects.using("operator").create(
            org_id=dead.org_id, type=dead.type, queue=dead.queue, payload=dead.payload
        )
        transaction.on_commit(lambda: nudge("relay"), using="operator", robust=True)
