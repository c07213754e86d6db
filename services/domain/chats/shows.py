"""Showing answers in chats while they are written: who does it, what is shown, handing it over to the deliveries."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from services.domain.chats.actions import read_link_config
from services.domain.chats.line import answers_due, is_behind
from services.domain.chats.models import Chat, LiveAnswers, ShownAnswer, Wiring
from services.domain.chats.places import DeliverTo
from services.domain.events.models import Event
from services.domain.events.types import MessageCreated, TurnStarted
from services.domain.outbox.jobs import DeliverAnswer, enqueue
from services.domain.ports.chat import ChatKind, Place
from services.domain.tasks.models import ACTIVE, FINAL, Task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

SHOW_LEASE = timedelta(seconds=12)


@dataclass(frozen=True, slots=True)
class Segment:
    """One message in which a part of an answer is shown. See `ShownAnswer`."""

    ref: str
    key: str
    is_stream: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the form in which it is kept."""
        return {"ref": self.ref, "key": self.key, "is_stream": self.is_stream}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Segment:
        """Read what `to_json` made."""
        return cls(str(values["ref"]), str(values["key"]), bool(values["is_stream"]))


@dataclass(frozen=True, slots=True)
class Show:
    """A task whose answer this process shows, under a lease. `config` is open: do not log it.

    `said` are the messages that the agent has finished, the last of which is the event `seq`.
    """

    id: uuid.UUID
    org_id: uuid.UUID
    task_id: uuid.UUID
    lease_token: uuid.UUID
    stream: str
    kind: str
    config: dict[str, Any]
    link_id: uuid.UUID
    chat_id: uuid.UUID
    chat_kind: ChatKind
    place: Place
    reply_to: str | None
    is_live: bool
    segments: tuple[Segment, ...]
    said: tuple[str, ...]
    seq: int


class ShownElsewhere(Exception):
    """Somebody shows the answer at this moment, and hands it over when they notice that the task has ended."""

    def __init__(self, until: datetime) -> None:
        super().__init__("somebody shows this answer")
        self.until = until


def all_tenants_list_unshown(*, limit: int) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """List organisation and id of the tasks at work for a chat that nobody shows there, the oldest first."""
    rows = Task.objects.using("operator").filter(status__in=ACTIVE, deliver_to__isnull=False)
    unheld = Q(shown_answer__lease_until=None) | Q(shown_answer__lease_until__lte=now())
    free = Q(shown_answer=None) | (Q(shown_answer__closed_at=None) & unheld)
    return list(rows.filter(free).order_by("id").values_list("org_id", "id")[:limit])


def claim_show(org_id: uuid.UUID, task_id: uuid.UUID) -> Show | None:
    """Take the lease to show a task's answer; None when it has ended, or somebody else has it.

    Locks: the task, so that it does not end unnoticed, then what is shown.
    """
    with tenant_transaction(org_id):
        tasks = Task.objects.select_for_update(of=("self",)).select_related("workspace")
        task = tasks.filter(id=task_id, status__in=ACTIVE).first()
        place = DeliverTo.model_validate(task.deliver_to) if task and task.deliver_to else None
        chat = Chat.objects.select_related("link").filter(id=place.chat_id).first() if place else None
        if task is None or place is None or chat is None:
            return None
        row, _ = ShownAnswer.objects.select_for_update().get_or_create(task=task, defaults={"org_id": org_id})
        if row.closed_at is not None or (row.lease_until is not None and row.lease_until > now()):
            return None
        row.lease_token, row.lease_until = uuid.uuid4(), now() + SHOW_LEASE
        row.save(update_fields=["lease_token", "lease_until"])
        said, seq = _said(task)
        return Show(
            id=row.id,
            org_id=org_id,
            task_id=task.id,
            lease_token=row.lease_token,
            stream=f"workspace:{task.workspace_id}",
            kind=chat.link.kind,
            config=read_link_config(chat.link),
            link_id=chat.link_id,
            chat_id=chat.id,
            chat_kind=ChatKind(chat.kind),
            place=Place(chat.platform_chat_id, place.thread_id or None),
            reply_to=place.reply_to or None,
            is_live=_is_live(chat, task, place),
            segments=tuple(Segment.from_json(one) for one in row.segments),
            said=tuple(said),
            seq=seq,
        )


def all_tenants_renew_shows(tokens: Sequence[uuid.UUID]) -> dict[uuid.UUID, bool]:
    """Prolong leases; returns those that still hold, and of each whether its task has ended."""
    rows = ShownAnswer.objects.using("operator").filter(lease_token__in=tokens, closed_at=None)
    rows.update(lease_until=now() + SHOW_LEASE)
    states = rows.values_list("lease_token", "task__status")
    return {token: status in FINAL for token, status in states if token is not None}


def note_segments(show: Show, segments: Sequence[Segment]) -> bool:
    """Record what is shown, or about to be; False when the lease is somebody else's by now."""
    with tenant_transaction(show.org_id):
        held = ShownAnswer.objects.filter(id=show.id, lease_token=show.lease_token, closed_at=None)
        return bool(held.update(segments=[segment.to_json() for segment in segments]))


def is_first_in_line(show: Show) -> bool:
    """Say whether all that was said before in its chat and thread is out, so that an answer may begin to show."""
    with tenant_transaction(show.org_id):
        task = Task.objects.get(id=show.task_id)
        due = answers_due(task).filter(id__lt=task.id)
        return not due.exists() and not is_behind(show.chat_id, show.place.thread_id or "")


def release_show(show: Show) -> None:
    """Give the lease back. Queues: DeliverAnswer when the task has ended, which waits for this."""
    with tenant_transaction(show.org_id):
        held = ShownAnswer.objects.filter(id=show.id, lease_token=show.lease_token)
        if not held.update(lease_token=None, lease_until=None):
            return
        task = Task.objects.filter(id=show.task_id, status__in=FINAL).only("traceparent").first()
        if task is not None:
            # It may come before the job that the task's end queued, and is of the same trace.
            job = DeliverAnswer(org_id=show.org_id, task_id=show.task_id)
            enqueue(job, traceparent=task.traceparent)


def close_shown(task: Task) -> list[Segment]:
    """End the showing of a task that has ended, and return what is shown. In the tenant's transaction.

    Raises: ShownElsewhere while somebody holds the lease.
    """
    row = ShownAnswer.objects.select_for_update().filter(task=task).first()
    if row is None:
        return []
    if row.closed_at is None and row.lease_until is not None and row.lease_until > now():
        raise ShownElsewhere(row.lease_until)
    row.closed_at, row.lease_token, row.lease_until = row.closed_at or now(), None, None
    row.save()
    return [Segment.from_json(one) for one in row.segments]


def _said(task: Task) -> tuple[list[str], int]:
    """Return the messages that the agent has finished in this turn, and the number of the last event about them."""
    said: list[str] = []
    seq = 0
    events = Event.objects.filter(task_id=task.id, type__in=(MessageCreated.type, TurnStarted.type))
    for event in events.order_by("seq"):
        if event.type == TurnStarted.type:
            said, seq = [], event.seq
        elif event.data.get("role") == "assistant":
            said.append(str(event.data.get("text", "")))
            seq = event.seq
    return said, seq


def _is_live(chat: Chat, task: Task, place: DeliverTo) -> bool:
    """Say whether an answer is shown while it is written, by the wiring's setting."""
    setting = Wiring.objects.filter(chat=chat, agent_id=task.agent_id).values_list("live_answers", flat=True)
    match setting.first():
        case LiveAnswers.ON:
            return True
        case LiveAnswers.OFF:
            return False
    return chat.kind == ChatKind.DIRECT or bool(place.thread_id)
