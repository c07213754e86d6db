"""What the broker gave up on, kept where an operator sees it."""

from __future__ import annotations

import logging
from typing import Any

from kombu import Connection

from services.domain.outbox.models import DeadJob
from services.kit.environment import environment
from services.worker.topology import DEAD_QUEUE, dead_queue

log = logging.getLogger(__name__)

_AT_ONCE = 100


def drain_dead_letters() -> int:
    """Move dead letters from the broker into the database; each is acknowledged once its row is kept."""
    moved = 0
    with Connection(environment().broker_url.get_secret_value(), connect_timeout=5) as connection:
        queue = dead_queue()(connection.default_channel)
        queue.declare()
        while moved < _AT_ONCE and (message := queue.get(no_ack=False)) is not None:
            _keep(message)
            message.ack()
            moved += 1
    return moved


def _keep(message: Any) -> None:
    death = (message.headers.get("x-death") or [{}])[0]
    kwargs = message.payload[1] if isinstance(message.payload, list) and len(message.payload) > 1 else {}
    job_type = str(message.headers.get("task", "unknown"))
    log.error("job %s was dead-lettered: %s", job_type, death.get("reason"))
    DeadJob.objects.using("operator").create(
        type=job_type,
        queue=str(death.get("queue", DEAD_QUEUE)),
        payload=kwargs.get("payload", {}),
        org_id=kwargs.get("org_id"),
        attempt=int(kwargs.get("attempt", 0)),
        error=f"dead-lettered by the broker: {death.get('reason', 'unknown')}, {death.get('count', '?')} times",
    )
