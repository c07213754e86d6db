"""The jobs of the platform: closed classes, named on the wire `<thing>.<verb>`, and the door into the outbox."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any, ClassVar

from django.db import connections, transaction
from pydantic import BaseModel, ConfigDict

from services.kit.clock import now
from services.kit.orgpg.tenant import current_org
from services.kit.redisbus import nudge

DEFAULT_QUEUE = "default"


def host_queue(host_name: str) -> str:
    """Return the queue that only the worker of one host takes."""
    return f"host.{host_name}"


class Job(BaseModel):
    """One piece of deferred work. Every job may run twice, late, or after a crash at any line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: ClassVar[str]
    max_attempts: ClassVar[int] = 12

    @property
    def queue(self) -> str:
        """Return the queue that carries this job."""
        return DEFAULT_QUEUE


class DispatchTask(Job):
    """Give the next runnable task a sandbox. It names nobody: who is next is decided when it runs."""

    type: ClassVar[str] = "task.dispatch"


class SettleSandbox(Job):
    """Decide what becomes of a sandbox whose task has ended: keep it for the next turn, or destroy it."""

    type: ClassVar[str] = "sandbox.settle"

    sandbox_id: uuid.UUID
    task_id: uuid.UUID
    keep: bool


class StopSandbox(Job):
    """Destroy a sandbox; a persistent workspace's volume stays."""

    type: ClassVar[str] = "sandbox.stop"

    sandbox_id: uuid.UUID


class RouteMessage(Job):
    """Decide which agents answer a stored message."""

    type: ClassVar[str] = "message.route"

    org_id: uuid.UUID
    message_id: uuid.UUID


class DeliverAnswer(Job):
    """Turn a finished task's answer into deliveries."""

    type: ClassVar[str] = "answer.deliver"

    org_id: uuid.UUID
    task_id: uuid.UUID


class SendDelivery(Job):
    """Send the parts of one batch that are due, in order."""

    type: ClassVar[str] = "delivery.send"

    org_id: uuid.UUID
    batch: str


class ShowTyping(Job):
    """Show in the chat that asked that the agent is at work."""

    type: ClassVar[str] = "chat.show_typing"
    max_attempts: ClassVar[int] = 1

    org_id: uuid.UUID
    task_id: uuid.UUID


class FirePlaybook(Job):
    """Run a playbook that has become due at `due_at`."""

    type: ClassVar[str] = "playbook.fire"

    org_id: uuid.UUID
    playbook_id: uuid.UUID
    due_at: datetime


JOBS: dict[str, type[Job]] = {
    job.type: job
    for job in (
        DispatchTask,
        SettleSandbox,
        StopSandbox,
        RouteMessage,
        DeliverAnswer,
        SendDelivery,
        ShowTyping,
        FirePlaybook,
    )
}


def enqueue(
    job: Job,
    *,
    not_before: datetime | None = None,
    attempt: int = 0,
    queue: str | None = None,
    using: str = "default",
) -> None:
    """Write a job into the outbox, in the transaction that is open; the relay is woken once it commits.

    `queue` sends it elsewhere than its own queue, such as to the host that has the sandbox.

    Raw SQL because the tenants' role may insert and not read: Django's own insert asks for the new id.
    """
    connection = connections[using]
    if not connection.in_atomic_block:
        raise RuntimeError("a job is enqueued together with the change that wants it")
    moment = now()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO outbox_job (org_id, type, queue, payload, attempt, not_before, created_at) "
            "VALUES (%s, %s, %s, %s::jsonb, %s, %s, %s)",
            [
                current_org.get(),
                job.type,
                queue or job.queue,
                json.dumps(job.model_dump(mode="json")),
                attempt,
                not_before or moment,
                moment,
            ],
        )
    if not_before is None:
        transaction.on_commit(_wake_relay, using=using, robust=True)


def _wake_relay() -> None:
    nudge("relay")


def parse_job(job_type: str, payload: dict[str, Any]) -> Job:
    """Rebuild a job from the wire. Raises: KeyError for an unknown type, ValueError for a wrong payload."""
    return JOBS[job_type].model_validate(payload)
