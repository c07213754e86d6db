"""Answers of finished tasks: what of them goes to which chat, written down once as deliveries."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.domain.chats.blocks import read_blocks
from services.domain.chats.models import Delivery, DeliveryKind, DeliveryStatus
from services.domain.chats.sending import SAID_BY_AGENT, Piece, Spot, find_batch, write_message
from services.domain.chats.shows import Segment, ShownElsewhere, close_shown
from services.domain.contacts.between_agents import say_to_agent
from services.domain.contacts.dead_letters import notify_concerned
from services.domain.contacts.destinations import HERE, find_agent_of, find_origin, resolve_destination
from services.domain.errors import DestinationMissing, QueueFull, SlipwayError, Temporary
from services.domain.events.models import Event
from services.domain.events.types import NotificationCreated
from services.domain.outbox.jobs import DeliverAnswer, enqueue
from services.domain.tasks.models import Task, TaskStatus
from services.domain.tasks.queries import agent_actor
from services.domain.tasks.submit import lock_task
from services.domain.tenancy.transaction import tenant_transaction


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


def plan_answer(org_id: uuid.UUID, task_id: uuid.UUID) -> AnswerPlan:
    """Say which messages a finished task's answer is: to the chat that asked, and a block each to a destination.

    The blocks of a task that did not succeed are no messages: they are shown as they are.
    """
    with tenant_transaction(org_id):
        task = Task.objects.select_related("agent").filter(id=task_id, finished_at__isnull=False).first()
        return _plan(task) if task is not None else AnswerPlan([], [])


def queue_answer(
    org_id: uuid.UUID, task_id: uuid.UUID, plan: AnswerPlan, rendered: Sequence[Sequence[str]]
) -> None:
    """Write a planned answer down, once; `rendered` has the parts of each of its messages.

    What was shown while it was written is replaced by it. What the agent has sent to the same place with its tools
    already is not sent again. A block that goes nowhere is told to whom the work is for. While somebody still shows the
    answer nothing happens, and the job comes again. Locks: the task.
    Queues: SendDelivery, DeliverAnswer, and what `say_to_agent` does. Emits: DeliveryChanged, NotificationCreated.
    Raises: Temporary when the queue has no room for a block's agent.
    """
    with tenant_transaction(org_id):
        task = lock_task(task_id)
        try:
            shown = close_shown(task)
        except ShownElsewhere as error:
            # Whoever shows it queues this again at once when they stop; this is for when they have died.
            enqueue(DeliverAnswer(org_id=org_id, task_id=task_id), not_before=error.until)
            return
        said: set[tuple[uuid.UUID, str, tuple[str, ...]]] = set()
        for message, parts in zip(plan.messages, rendered, strict=True):
            replaced = [] if message.to else shown
            content = (message.spot.chat.id, message.spot.thread_id, tuple(parts))
            is_said = content in said or _was_said(task, message.spot, parts)
            if find_batch(message.batch) or (is_said and not replaced):
                continue
            said.add(content)
            write_message(message.spot, _replacing(parts, replaced), batch=message.batch, task=task)
        refused = [
            block for block in (_tell_agent(task, one) for one in plan.for_agents) if block is not None
        ]
        for block in [*plan.not_sent, *refused]:
            _notify_once(task, f"A message to “{block.to}” was not sent: {block.reason}\n\n{block.text}")


def _plan(task: Task) -> AnswerPlan:
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
