"""Agents that talk to each other: what one says is work for the other, and the answer goes back where it was asked.

A talk is bound to two workspaces: the one that asks, and the other agent's, which is the same each time. A task
knows the workspace that its answer returns to, so that no answer has to be matched by guessing.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.db.models import Q

from services.domain.actors import Actor, require
from services.domain.agents.actions import get_usable_agent
from services.domain.chats.blocks import read_blocks
from services.domain.chats.models import Conversation
from services.domain.contacts.destinations import HERE
from services.domain.errors import LoopStopped, QueueFull, SlipwayError, Temporary
from services.domain.events.log import NewEvent, record_events
from services.domain.events.types import AnswerReturned
from services.domain.tasks.messages import send_message
from services.domain.tasks.models import IdempotencyKey, Task, TaskMode, TaskStatus
from services.domain.tasks.passing import MAX_HOPS
from services.domain.tasks.submit import TaskOrder, lock_task, submit_task
from services.domain.tenancy.transaction import tenant_transaction

MAX_ANSWER_CHARS = 100_000


@dataclass(frozen=True, slots=True)
class Said:
    """What became of something that an agent said to another: it is work of its own, or part of what is at work."""

    id: uuid.UUID
    workspace_id: uuid.UUID
    is_new_work: bool


def say_to_agent(actor: Actor, agent_id: uuid.UUID, text: str, *, key: str) -> Said:
    """Let an agent at work say something to another, once for each key. Its answer returns to the actor's workspace.

    What the other agent asked this work for is answered where it was asked, while that goes on or as work of its own.
    Emits and queues: what `submit_task` or `send_message` does. Locks: the talk.
    Raises: AgentMissing, AgentArchived, LoopStopped, QueueFull, PromptInvalid.
    """
    require(actor, "tasks:write")
    with tenant_transaction(actor.org_id):
        task = lock_task(_own_task(actor))
        asker = task.return_to
        if asker is not None and asker.agent_id == agent_id:
            return _say_back(task, f"{_name(task)} says:\n\n{text}", key)
        earlier = IdempotencyKey.objects.select_related("task").filter(actor=actor.key, key=key).first()
        if earlier is not None:
            return Said(earlier.task_id, earlier.task.workspace_id, is_new_work=True)
        get_usable_agent(actor, agent_id)
        talk = _lock_talk(task, agent_id)
        order = TaskOrder(
            agent_id=None if talk else agent_id,
            workspace_id=talk.workspace_id if talk else None,
            prompt=text,
            mode=TaskMode.SESSION,
        )
        following = submit_task(actor, order, source="agent", idempotency_key=key)
        following.return_to_id = task.workspace_id
        following.save(update_fields=["return_to"])
        if talk is None:
            Conversation.objects.update_or_create(
                agent_id=agent_id,
                scope=_scope(task),
                defaults={"workspace_id": following.workspace_id},
                create_defaults={"workspace_id": following.workspace_id, "org_id": task.org_id},
            )
        return Said(following.id, following.workspace_id, is_new_work=True)


def say_to_asker(actor: Actor, text: str, *, key: str) -> Said | None:
    """Let an agent say something to the one that asked it, before its answer; None when no agent did."""
    require(actor, "tasks:write")
    with tenant_transaction(actor.org_id):
        task = lock_task(_own_task(actor))
        if task.return_to is None:
            return None
        return _say_back(task, f"{_name(task)} says:\n\n{text}", key)


def return_answer(org_id: uuid.UUID, task_id: uuid.UUID) -> None:
    """Give a finished task's answer to the workspace that asked, once; for the job, which may run twice.

    One that cannot be given, such as to a workspace that is archived, is on record with its reason.
    Emits: AnswerReturned, and what `submit_task` or `send_message` does. Raises: Temporary when the queue is full.
    """
    with tenant_transaction(org_id):
        task = Task.objects.select_related("agent", "return_to").filter(id=task_id).first()
        if task is None or task.return_to is None or task.finished_at is None:
            return
        try:
            with tenant_transaction(org_id):
                said = _say_back(task, _word_answer(task), f"return:{task.id}")
                told = AnswerReturned(workspace_id=str(said.workspace_id), said_in=str(said.id))
        except QueueFull as error:
            raise Temporary(error.message, retry_after_s=error.retry_after_s or 1.0) from error
        except SlipwayError as error:
            told = AnswerReturned(workspace_id=str(task.return_to_id), reason=error.code)
        record_events(f"workspace:{task.workspace_id}", [NewEvent(told, task.id, task.turn)])


def _say_back(task: Task, text: str, key: str) -> Said:
    """Tell the workspace that asked for a task something: the work that goes on there, or else as new work of it."""
    place = task.return_to
    if place is None:
        raise ValueError("nobody asked for this task")
    speaker = Actor(org_id=task.org_id, kind="system", role="member", user_id=task.user_id, task_id=task.id)
    at_work = Task.objects.filter(workspace=place, finished_at=None).order_by("id").first()
    if at_work is not None:
        if task.hops > MAX_HOPS:
            raise LoopStopped("This was passed on too often.", limit=MAX_HOPS)
        message = send_message(speaker, at_work.id, text, idempotency_key=key)
        return Said(message.id, place.id, is_new_work=False)
    asked = task.parent
    order = TaskOrder(
        workspace_id=place.id,
        prompt=text,
        mode=TaskMode.SESSION if place.is_persistent else TaskMode.BATCH,
        deliver_to=asked.deliver_to if asked is not None else None,
    )
    following = submit_task(speaker, order, source="agent", idempotency_key=key)
    if asked is not None and following.return_to_id is None and asked.return_to_id is not None:
        following.return_to_id = asked.return_to_id
        following.save(update_fields=["return_to"])
    return Said(following.id, place.id, is_new_work=True)


def _lock_talk(task: Task, agent_id: uuid.UUID) -> Conversation | None:
    """Return the talk of this workspace with another agent, if there is one that can go on for the same person."""
    same_person = Q(workspace__user=task.user_id) if task.user_id else Q(workspace__user=None)
    return (
        Conversation.objects.select_for_update(of=("self",))
        .filter(same_person, agent_id=agent_id, scope=_scope(task), workspace__archived_at=None)
        .first()
    )


def _scope(task: Task) -> str:
    return f"workspace:{task.workspace_id}"


def _own_task(actor: Actor) -> uuid.UUID:
    if actor.task_id is None:
        raise ValueError("an agent at work talks so")
    return actor.task_id


def _name(task: Task) -> str:
    return f"The agent {task.agent.name}"


def _word_answer(task: Task) -> str:
    """Word what an agent answered, and that it is an agent's answer and no person's words."""
    # Blocks for others are on their way there.
    own = [piece.text for piece in read_blocks(task.result_text) if piece.to.lower() in ("", HERE)]
    text = "\n\n".join(own).strip()[:MAX_ANSWER_CHARS]
    if task.status == TaskStatus.SUCCEEDED:
        return f"{_name(task)} answers what you asked it:\n\n{text or '(It said nothing.)'}"
    reason = task.error_message or task.status
    return f"{_name(task)} did not do what you asked it: {reason}" + (f"\n\n{text}" if text else "")
