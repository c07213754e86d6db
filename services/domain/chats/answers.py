"""Answers of finished tasks: what of them goes to which chat, written down once as deliveries."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from django.db import InterfaceError, OperationalError

from services.domain.chats.blocks import read_blocks
from services.domain.chats.line import answers_due
from services.domain.chats.models import Delivery, DeliveryKind, DeliveryStatus
from services.domain.chats.sending import SAID_BY_AGENT, Piece, Spot, find_batch, write_message
from services.domain.chats.shows import Segment, ShownElsewhere, close_shown
from services.domain.contacts.between_agents import say_to_agent
from services.domain.contacts.dead_letters import notify_concerned
from services.domain.contacts.destinations import HERE, find_agent_of, find_origin, resolve_destination
from services.domain.errors import DestinationMissing, QueueFull, SlipwayError, TaskMissing, Temporary
from services.domain.events.models import Event
from services.domain.events.types import NotificationCreated
from services.domain.outbox.jobs import DeliverAnswer, enqueue
from services.domain.tasks.models import Task, TaskStatus
from services.domain.tasks.queries import agent_actor
from services.domain.tasks.submit import lock_task
from services.domain.tenancy.transaction import tenant_transaction

log = logging.getLogger(__name__)

Render = Callable[[str, str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message of an answer, in Markdown. `kind` is its platform; `to` is empty for the chat that asked."""

    kind: str
    text: str
    batch: str
    spot: Spot
    to: str = ""


@dataclass(frozen=True, slots=True)
class NotSent:
    """A block that goes nowhere, and why."""

    to: str
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class ForAgent:
    """A block for another agent, which becomes its work."""

    agent_id: uuid.UUID
    to: str
    text: str
    key: str


@dataclass(frozen=True, slots=True)
class AnswerPlan:
    """What becomes of a task's answer."""

    messages: list[Outgoing]
    not_sent: list[NotSent]
    for_agents: list[ForAgent] = field(default_factory=list)


def deliver_answer(org_id: uuid.UUID, task_id: uuid.UUID, render: Render) -> None:
    """Write a finished task's answer down as deliveries, once: to the chat that asked, and a block each elsewhere.

    All that is due of its conversation at its place is written, in the order of the talk, so that the jobs cannot
    overtake one another. While somebody still shows an answer, it and those behind it wait, and the job comes again.
    One that cannot be written steps out of the line. `render` gives the parts of a text for a kind of platform; pure.
    Queues: SendDelivery, DeliverAnswer, and what `say_to_agent` does. Emits: DeliveryChanged, NotificationCreated.
    Raises: Temporary when the queue has no room for a block's agent; TaskMissing; what rendering raises.
    """
    for each_id in _list_line(org_id, task_id):
        try:
            _write(org_id, each_id, render)
        except ShownElsewhere as error:
            if each_id > task_id:
                break
            # Whoever shows it queues its own job at once when they stop; this is also for when they have died.
            with tenant_transaction(org_id):
                enqueue(DeliverAnswer(org_id=org_id, task_id=task_id), not_before=error.until)
            return
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            with tenant_transaction(org_id):
                Task.objects.filter(id=each_id).update(answer_due_at=None)
            if each_id == task_id:
                raise
            log.exception("the answer of task %s steps out of the line", each_id)
    _tell_others(org_id, task_id)


def _list_line(org_id: uuid.UUID, task_id: uuid.UUID) -> list[uuid.UUID]:
    """List the task and those whose answers are due at its place, in their order. Raises: TaskMissing."""
    with tenant_transaction(org_id):
        task = Task.objects.filter(id=task_id, finished_at__isnull=False).first()
        if task is None:
            raise TaskMissing("There is no such task, or it has not ended.")
        return sorted({task_id, *answers_due(task).values_list("id", flat=True)})


def _write(org_id: uuid.UUID, task_id: uuid.UUID, render: Render) -> None:
    """Write the messages of one answer, once; whoever comes later waits here until they stand.

    What was shown while it was written is replaced by it. What the agent has sent to the same place with its tools
    already is not sent again. Locks: the task. Raises: ShownElsewhere, TaskMissing, what rendering raises.
    """
    with tenant_transaction(org_id):
        task = lock_task(task_id)
        shown = close_shown(task)
        said: set[tuple[uuid.UUID, str, tuple[str, ...]]] = set()
        for message in _plan(task).messages:
            parts = render(message.kind, message.text)
            replaced = [] if message.to else shown
            content = (message.spot.chat.id, message.spot.thread_id, tuple(parts))
            is_said = content in said or _was_said(task, message.spot, parts)
            if find_batch(message.batch) or (is_said and not replaced):
                continue
            said.add(content)
            write_message(message.spot, _replacing(parts, replaced), batch=message.batch, task=task)
        task.answer_due_at = None
        task.save(update_fields=["answer_due_at"])


def _tell_others(org_id: uuid.UUID, task_id: uuid.UUID) -> None:
    """Say an answer's blocks for agents to them, and tell of those that go nowhere whom the work is for.

    Locks: the task. Raises: Temporary, when the queue has no room.
    """
    with tenant_transaction(org_id):
        task = lock_task(task_id)
        plan = _plan(task)
        refused = [
            block for block in (_tell_agent(task, one) for one in plan.for_agents) if block is not None
        ]
        for block in [*plan.not_sent, *refused]:
            _notify_once(task, f"A message to “{block.to}” was not sent: {block.reason}\n\n{block.text}")


def _plan(task: Task) -> AnswerPlan:
    """Say what messages an answer is. Blocks of a task that did not succeed are none: they are shown as they are."""
    origin = find_origin(task)
    own: list[str] = []
    messages: list[Outgoing] = []
    not_sent: list[NotSent] = []
    for_agents: list[ForAgent] = []
    pieces = read_blocks(task.result_text) if task.status == TaskStatus.SUCCEEDED else []
    for number, piece in enumerate(pieces):
        if piece.to.lower() in ("", HERE):
            own.append(piece.text)
            continue
        agent_id = find_agent_of(task, piece.to)
        if agent_id is not None:
            for_agents.append(ForAgent(agent_id, piece.to, piece.text, f"task:{task.id}:to:{number}"))
            continue
        try:
            spot = resolve_destination(task, piece.to)
        except DestinationMissing as error:
            not_sent.append(NotSent(piece.to, piece.text, error.message))
            continue
        messages.append(
            Outgoing(spot.chat.link.kind, piece.text, f"task:{task.id}:to:{number}", spot, piece.to)
        )
    if origin is not None:
        names = [*(one.to for one in messages), *(one.to for one in for_agents)]
        text = _own_text(task, own, names, not_sent)
        messages.insert(0, Outgoing(origin.chat.link.kind, text, f"task:{task.id}", origin))
    return AnswerPlan(messages, not_sent, for_agents)


def _tell_agent(task: Task, block: ForAgent) -> NotSent | None:
    """Say a block to its agent, once; returns it when that is refused."""
    try:
        with tenant_transaction(task.org_id):
            say_to_agent(agent_actor(task), block.agent_id, block.text, key=block.key)
    except QueueFull as error:
        raise Temporary(error.message, retry_after_s=error.retry_after_s or 1.0) from error
    except SlipwayError as error:
        return NotSent(block.to, block.text, error.message)
    return None


def _own_text(task: Task, own: Sequence[str], others: Sequence[str], not_sent: Sequence[NotSent]) -> str:
    """Word what the chat that asked gets, so that nobody is met with silence, whatever became of the task."""
    if task.status != TaskStatus.SUCCEEDED:
        return _failure_text(task)
    told_back = [f"**Not sent to “{block.to}”:** {block.reason}\n\n{block.text}" for block in not_sent]
    text = "\n\n".join([*own, *told_back]).strip()
    if text or not others:
        return text or "Done. There was no text to show."
    return f"Sent to {', '.join(dict.fromkeys(others))}."


def _replacing(parts: Sequence[str], shown: Sequence[Segment]) -> list[Piece]:
    """Put an answer's parts in place of what is shown: the last segments, for a stream that is open is the last.

    What is shown beyond that is deleted, after the answer stands.
    """
    surplus = len(shown) - len(parts)
    kept = shown[max(surplus, 0) :]
    pieces = [
        Piece(part, payload={"replaces": kept[number].to_json()} if number < len(kept) else None)
        for number, part in enumerate(parts)
    ]
    gone = shown[: max(surplus, 0)]
    return pieces + [Piece("", DeliveryKind.DELETE, {"message_id": one.ref}) for one in gone if one.ref]


def _failure_text(task: Task) -> str:
    text = task.result_text.strip()
    rest = f"\n\n{text}" if text else ""
    match task.status:
        case TaskStatus.CANCELLED:
            return f"Cancelled.{rest}"
        case TaskStatus.EXPIRED:
            return f"I ran out of time ({task.timeout_s} s).{rest}"
        case _:
            return f"That did not work: {task.error_message or task.error_code}{rest}"


def _was_said(task: Task, spot: Spot, parts: Sequence[str]) -> bool:
    """Say whether the agent has sent the same words to the same place by a tool."""
    rows = Delivery.objects.filter(
        task=task,
        chat=spot.chat,
        thread_id=spot.thread_id,
        kind=DeliveryKind.TEXT,
        batch__startswith=SAID_BY_AGENT,
    ).exclude(status=DeliveryStatus.FAILED)
    said: dict[str, list[str]] = {}
    for batch, text in rows.order_by("batch", "part").values_list("batch", "text"):
        said.setdefault(batch, []).append(text)
    return list(parts) in said.values()


def _notify_once(task: Task, message: str) -> None:
    told = Event.objects.filter(task_id=task.id, type=NotificationCreated.type, data__message=message[:4_000])
    if not told.exists():
        notify_concerned(task, message)
