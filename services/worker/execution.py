"""Running one job: what becomes of it when it fails is decided by the class of its error."""

from __future__ import annotations

import logging
import time
import traceback
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from celery.exceptions import Reject
from django.db import DatabaseError, InterfaceError, OperationalError, connections, transaction

from services.domain.errors import Conflict, Missing, Permanent, Temporary
from services.domain.outbox.jobs import DEFAULT_QUEUE, Job, enqueue, parse_job
from services.domain.outbox.models import DeadJob
from services.kit.clock import now
from services.worker.jobs import EXECUTORS

log = logging.getLogger(__name__)

LONGEST_BACKOFF_S = 300.0
UNEXPECTED_ATTEMPTS = 4
DATABASE_PATIENCE_S = 30.0


def run_job(job_type: str, payload: dict[str, Any], *, attempt: int, org_id: str | None) -> None:
    """Run a job to its end, or see to it that it is run again, or that an operator sees why it is not.

    Temporary errors put it back with growing delays; a lost lease or a vanished object drops it, for then there is
    nothing left to do; anything else is tried a few times and then kept as a dead job.
    """
    try:
        try:
            job = parse_job(job_type, payload)
        except (KeyError, ValueError) as error:
            # Written by another version of us, perhaps: an operator decides, nothing is dropped.
            _bury(job_type, DEFAULT_QUEUE, payload, attempt, error, uuid.UUID(org_id) if org_id else None)
            return
        try:
            EXECUTORS[type(job)](job)
        except (Conflict, Missing) as error:
            log.info("job %s %s dropped: %s", job_type, payload, error)
        except Temporary as error:
            _try_later(job, attempt, error, retry_after_s=error.retry_after_s, limit=job.max_attempts)
        except (OperationalError, InterfaceError) as error:
            _try_later(job, attempt, error, retry_after_s=1.0, limit=job.max_attempts)
        except Permanent as error:
            _give_up(job, attempt, error)
        except Exception as error:
            log.exception("job %s %s failed", job_type, payload)
            _try_later(
                job, attempt, error, retry_after_s=1.0, limit=min(job.max_attempts, UNEXPECTED_ATTEMPTS)
            )
    finally:
        connections.close_all()


def _try_later(job: Job, attempt: int, error: Exception, *, retry_after_s: float, limit: int) -> None:
    if attempt + 1 >= limit:
        _give_up(job, attempt, error)
        return
    delay_s = min(max(retry_after_s, 2.0**attempt * 0.5), LONGEST_BACKOFF_S)
    log.warning("job %s put back for %.1f s: %s", job.type, delay_s, error)

    def put_back() -> None:
        with transaction.atomic(using="operator"):
            enqueue(job, not_before=now() + timedelta(seconds=delay_s), attempt=attempt + 1, using="operator")

    _write_patiently(put_back)


def _give_up(job: Job, attempt: int, error: Exception) -> None:
    if job.max_attempts == 1:
        log.info("job %s dropped: %s", job.type, error)
        return
    _bury(job.type, job.queue, job.model_dump(mode="json"), attempt, error, getattr(job, "org_id", None))


def _bury(
    job_type: str,
    queue: str,
    payload: dict[str, Any],
    attempt: int,
    error: Exception,
    org_id: uuid.UUID | None,
) -> None:
    log.error("job %s is dead after %d attempts: %s", job_type, attempt + 1, error)
    details = "".join(traceback.format_exception(error))[-8_000:]

    def bury() -> None:
        DeadJob.objects.using("operator").create(
            org_id=org_id, type=job_type, queue=queue, payload=payload, error=details, attempt=attempt + 1
        )

    _write_patiently(bury)


def _write_patiently(write: Callable[[], None]) -> None:
    """Write to the database even if it is just away; after a while the broker keeps the job instead."""
    give_up_at = time.monotonic() + DATABASE_PATIENCE_S
    while True:
        try:
            write()
        except DatabaseError as error:
            connections.close_all()
            if time.monotonic() > give_up_at:
                raise Reject(str(error), requeue=True) from error
            time.sleep(1.0)
        else:
            return
