"""The jobs of the platform: closed classes, named on the wire `<thing>.<verb>`, and the door into the outbox."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any, ClassVar

from django.db import connections, transaction
from pydantic import BaseModel, ConfigDict

from services.kit import tracing
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


class StartTask(Job):
    """Give one task a sandbox on the host whose queue this is; nothing happens when there is no room."""

    type: ClassVar[str] = "task.start"

    task_id: uuid.UUID


class SettleSandbox(Job):
    """Decide what becomes of a sandbox whose task has ended: keep it for the next turn, or destroy it."""

    type: ClassVar[str] = "sandbox.settle"

    sandbox_id: uuid.UUID
    task_id: uuid.UUID
    keep: bool


class SubmitFollowUps(Job):
    """Make new work of the messages that an ended task did not take."""

    type: ClassVar[str] = "task.follow_up"

    org_id: uuid.UUID
    task_id: uuid.UUID


class StopSandbox(Job):
    """Destroy a sandbox; a persistent workspace's volume stays. `is_idle_only`: but not one that is at work again."""

    type: ClassVar[str] = "sandbox.stop"

    sandbox_id: uuid.UUID
    is_idle_only: bool = False


class PauseSandbox(Job):
    """Freeze an idle sandbox; the next message wakes it."""

    type: ClassVar[str] = "sandbox.pause"

    sandbox_id: uuid.UUID


class WakeSandbox(Job):
    """See to it that a workspace's sandbox is there, without a task; `host` is set once one was chosen."""

    type: ClassVar[str] = "sandbox.wake"

    org_id: uuid.UUID
    workspace_id: uuid.UUID
    host: str = ""


class FillPool(Job):
    """Bring a host's warm pool to the size that recent demand asks for."""

    type: ClassVar[str] = "pool.fill"
    max_attempts: ClassVar[int] = 1


class SnapshotVolume(Job):
    """Store a copy of a workspace's files in object storage, if they changed since the last one."""

    type: ClassVar[str] = "volume.snapshot"

    workspace_id: uuid.UUID


class ArchiveVolume(Job):
    """Leave a workspace's files to object storage alone: stop its idle sandbox, snapshot, remove the volume.

    With `unless_used_since`, nothing happens when the files were used after that moment.
    """

    type: ClassVar[str] = "volume.archive"

    workspace_id: uuid.UUID
    unless_used_since: datetime | None = None


class DrainHost(Job):
    """Move what a draining host still has to object storage, as far as it is not at work."""

    type: ClassVar[str] = "host.drain"
    max_attempts: ClassVar[int] = 1

    host: str


class BuildImage(Job):
    """Build an agent's derived image; `host` names the one that must have it, empty leaves the choice."""

    type: ClassVar[str] = "image.build"

    org_id: uuid.UUID
    image_id: uuid.UUID
    host: str = ""

    @property
    def queue(self) -> str:
        """Return the host's own queue when one is named."""
        return host_queue(self.host) if self.host else DEFAULT_QUEUE


class CompleteHook(Job):
    """Ask a platform for what a verified hook only names, and take it in. `body` is the hook's, JSON as it came."""

    type: ClassVar[str] = "hook.complete"

    org_id: uuid.UUID
    link_id: uuid.UUID
    kind: str
    body: str
    received_at: datetime


class RouteMessage(Job):
    """Decide which agents answer a stored message."""

    type: ClassVar[str] = "message.route"

    org_id: uuid.UUID
    message_id: uuid.UUID


class HandleInboundEvent(Job):
    """Do what follows from somebody's edit or deletion of a message, or from their wish that the agent stops."""

    type: ClassVar[str] = "inbound.handle"

    org_id: uuid.UUID
    event_id: uuid.UUID


class FetchFile(Job):
    """Fetch a file that came with a message, and read it."""

    type: ClassVar[str] = "file.fetch"

    org_id: uuid.UUID
    file_id: uuid.UUID


class ForgetObjects(Job):
    """Remove objects of which no row is left that knows them, and all below the folders among them."""

    type: ClassVar[str] = "objects.forget"

    keys: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


class DeliverAnswer(Job):
    """Turn a finished task's answer into deliveries."""

    type: ClassVar[str] = "answer.deliver"

    org_id: uuid.UUID
    task_id: uuid.UUID


class ReturnAnswer(Job):
    """Give a finished task's answer to the workspace of the agent that asked for it."""

    type: ClassVar[str] = "answer.return"

    org_id: uuid.UUID
    task_id: uuid.UUID


class SendDelivery(Job):
    """Send the parts of one batch that are due, in order."""

    type: ClassVar[str] = "delivery.send"

    org_id: uuid.UUID
    batch: str


class WriteReply(Job):
    """Write the platform's own answer to a message, as its chat's platform writes."""

    type: ClassVar[str] = "reply.write"

    org_id: uuid.UUID
    message_id: uuid.UUID
    text: str


class NoteFailure(Job):
    """Note that a message failed which the platform had taken, if it is on record by now."""

    type: ClassVar[str] = "delivery.note_failure"

    org_id: uuid.UUID
    link_id: uuid.UUID
    message_id: str
    reason: str
    may_open: bool


class ReportDeadDelivery(Job):
    """Tell whoever is concerned that a delivery has failed for good."""

    type: ClassVar[str] = "delivery.report"

    org_id: uuid.UUID
    delivery_id: uuid.UUID


class SendPush(Job):
    """Show one notification of a person, by its number on their stream, in one of their browsers."""

    type: ClassVar[str] = "push.send"
    max_attempts: ClassVar[int] = 8

    org_id: uuid.UUID
    subscription_id: uuid.UUID
    user_id: uuid.UUID
    seq: int


class SendWebhook(Job):
    """Make one attempt to tell a webhook of one event. Its retries are the delivery's own, not the job's."""

    type: ClassVar[str] = "webhook.send"

    org_id: uuid.UUID
    delivery_id: uuid.UUID


class SendLetter(Job):
    """Send one of the platform's own mails."""

    type: ClassVar[str] = "letter.send"

    letter_id: uuid.UUID


class PushApproval(Job):
    """Show in one browser of a person's that an approval waits for them."""

    type: ClassVar[str] = "approval.push"
    max_attempts: ClassVar[int] = 8

    org_id: uuid.UUID
    subscription_id: uuid.UUID
    user_id: uuid.UUID
    approval_id: uuid.UUID


class MakeExport(Job):
    """Make an archive of all that an organisation has."""

    type: ClassVar[str] = "export.make"
    max_attempts: ClassVar[int] = 5

    org_id: uuid.UUID
    export_id: uuid.UUID


class CheckLink(Job):
    """Ask a platform whether a link works."""

    type: ClassVar[str] = "link.check"
    max_attempts: ClassVar[int] = 1

    org_id: uuid.UUID
    link_id: uuid.UUID


class ShowQuestion(Job):
    """Show a question in its chat, or what became of it."""

    type: ClassVar[str] = "question.show"

    org_id: uuid.UUID
    question_id: uuid.UUID


class ShowApproval(Job):
    """Show an approval in a chat, or what became of it."""

    type: ClassVar[str] = "approval.show"

    org_id: uuid.UUID
    approval_id: uuid.UUID


class ShowApprovalPage(Job):
    """Show a further page of what an approval chooses between, in a chat where its first one is."""

    type: ClassVar[str] = "approval.show_page"

    org_id: uuid.UUID
    approval_id: uuid.UUID
    chat_id: uuid.UUID
    page: int


class HandlePress(Job):
    """Do what somebody asked for by pressing a button in a chat."""

    type: ClassVar[str] = "press.handle"

    org_id: uuid.UUID
    press_id: uuid.UUID


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
        StartTask,
        SettleSandbox,
        SubmitFollowUps,
        StopSandbox,
        PauseSandbox,
        WakeSandbox,
        FillPool,
        SnapshotVolume,
        ArchiveVolume,
        DrainHost,
        BuildImage,
        CompleteHook,
        RouteMessage,
        HandleInboundEvent,
        FetchFile,
        ForgetObjects,
        DeliverAnswer,
        ReturnAnswer,
        SendDelivery,
        WriteReply,
        NoteFailure,
        ReportDeadDelivery,
        SendPush,
        SendWebhook,
        SendLetter,
        MakeExport,
        PushApproval,
        CheckLink,
        ShowQuestion,
        ShowApproval,
        ShowApprovalPage,
        HandlePress,
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
    traceparent: str | None = None,
) -> None:
    """Write a job into the outbox, in the transaction that is open; the relay is woken once it commits.

    `queue` sends it elsewhere than its own queue, such as to the host that has the sandbox. `traceparent` is what it
    follows from, where that is not the current span.

    Raw SQL because the tenants' role may insert and not read: Django's own insert asks for the new id.
    """
    connection = connections[using]
    if not connection.in_atomic_block:
        raise RuntimeError("a job is enqueued together with the change that wants it")
    moment = now()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO outbox_job (org_id, type, queue, payload, attempt, not_before, created_at, traceparent) "
            "VALUES (%s, %s, %s, %s::jsonb, %s, %s, %s, %s)",
            [
                current_org.get(),
                job.type,
                queue or job.queue,
                json.dumps(job.model_dump(mode="json")),
                attempt,
                not_before or moment,
                moment,
                tracing.traceparent() if traceparent is None else traceparent,
            ],
        )
    if not_before is None:
        transaction.on_commit(_wake_relay, using=using, robust=True)


def _wake_relay() -> None:
    nudge("relay")


def parse_job(job_type: str, payload: dict[str, Any]) -> Job:
    """Rebuild a job from the wire. Raises: KeyError for an unknown type, ValueError for a wrong payload."""
    return JOBS[job_type].model_validate(payload)
