"""Submitting and cancelling tasks."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

from django.db import connection, transaction
from pydantic import BaseModel, ConfigDict, Field, field_validator

from services.domain.actors import Actor, require
from services.domain.agents.actions import get_usable_agent
from services.domain.agents.models import Agent
from services.domain.chats.places import check_deliver_to
from services.domain.errors import (
    IdempotencyKeyReused,
    Invalid,
    NotPermitted,
    PromptInvalid,
    QueueFull,
    TaskFinished,
    TaskMissing,
)
from services.domain.events.announcing import announce_change
from services.domain.events.listed import TaskChanged
from services.domain.events.log import NewEvent, record_events
from services.domain.events.types import MessageCreated, TaskQueued
from services.domain.llm.policy import choose_model
from services.domain.outbox.jobs import DispatchTask, enqueue
from services.domain.tasks.finish import Outcome, finish_locked_task
from services.domain.tasks.models import FINAL, MAX_PROMPT_CHARS, IdempotencyKey, Task, TaskMode, TaskStatus
from services.domain.tasks.output import refuse_schema
from services.domain.tasks.passing import find_parent, refuse_loops
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import create_workspace, get_open_workspace, note_turn
from services.domain.workspaces.models import Workspace
from services.domain.workspaces.reach import tasks_in_reach
from services.kit import tracing
from services.kit.clock import now
from services.kit.redisbus import nudge

# Row-level security leaves the tenant's own organisation and tasks.
_QUEUED = "SELECT max_queued_tasks, (SELECT count(*) FROM task WHERE status = 'queued') FROM organisation"


class TaskOrder(BaseModel):
    """What a caller asks for. Money is in micro-dollars; times are in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    agent_id: uuid.UUID | None = None
    workspace_id: uuid.UUID | None = None
    prompt: str
    mode: TaskMode = TaskMode.SESSION
    model: str | None = Field(default=None, max_length=100)
    max_turns: int | None = Field(default=None, ge=1, le=10_000)
    max_budget_microusd: int | None = Field(default=None, ge=0, le=10**12)
    timeout_s: int | None = Field(default=None, ge=1, le=86_400)
    output_schema: dict[str, Any] | None = None
    deliver_to: dict[str, Any] | None = None

    @field_validator("prompt")
    @classmethod
    def end_lines_alike(cls, prompt: str) -> str:
        """Write every line end as one newline. A browser's form sends two characters, and no shell reads those."""
        return prompt.replace("\r\n", "\n").replace("\r", "\n")

    def digest(self) -> str:
        """Return a hash that is the same for the same order, whatever the order of its keys."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def submit_task(
    actor: Actor, order: TaskOrder, *, source: str, idempotency_key: str | None = None, hops: int = 0
) -> Task:
    """Accept a piece of work: task, events and job in one transaction.

    With a key that this actor used before, the first task is returned again. An agent's counts as passed on once more;
    `hops` is how often work had been passed on when no task submits, but a playbook that an agent made.
    Emits: TaskQueued, MessageCreated, TaskChanged, WorkspaceChanged. Queues: DispatchTask.
    Raises: AgentMissing, AgentArchived, WorkspaceMissing, WorkspaceArchived, PromptInvalid, QueueFull,
    IdempotencyKeyReused, Invalid, ChatMissing, LoopStopped, ModelNotAllowed.
    """
    require(actor, "tasks:write")
    _check_prompt(order.prompt)
    refuse_schema(order.output_schema)
    with tenant_transaction(actor.org_id), tracing.span("task.submit", source=source):
        if idempotency_key is not None:
            earlier = _claim_key(actor, idempotency_key, order)
            if earlier is not None:
                return earlier
        _refuse_when_full()
        if order.deliver_to is not None and actor.agent_ids is not None:
            raise NotPermitted("A token that names agents reaches no chats.")
        workspace, agent = _place(actor, order, source)
        parent = find_parent(actor)
        hops = max(hops, parent.hops + 1) if parent is not None else hops
        refuse_loops(actor, parent, hops)
        task = _create(actor, order, workspace, agent, source, parent=parent, hops=hops)
        if idempotency_key is not None:
            IdempotencyKey.objects.create(
                org_id=actor.org_id,
                actor=actor.key,
                key=idempotency_key,
                request_hash=order.digest(),
                task=task,
            )
        record_events(
            workspace.stream,
            [
                NewEvent(
                    TaskQueued(task_id=str(task.id), agent_id=str(agent.id), source=source),
                    task.id,
                    task.turn,
                ),
                NewEvent(MessageCreated(role="user", text=order.prompt), task.id, task.turn),
            ],
        )
        announce_change(TaskChanged, task, "created")
        enqueue(DispatchTask())
        # The job is the promise; this spares a task that can start now the way through the broker.
        transaction.on_commit(_wake_dispatchers, robust=True)
        return task


def _wake_dispatchers() -> None:
    nudge("dispatch")


def cancel_task(actor: Actor, task_id: uuid.UUID) -> Task:
    """Cancel a task: at once while it is queued, through its runner when it is at work.

    Asking twice is fine. Raises: TaskMissing, TaskFinished for one that ended otherwise.
    """
    require(actor, "tasks:write")
    with tenant_transaction(actor.org_id):
        if not Task.objects.filter(tasks_in_reach(actor), id=task_id).exists():
            raise TaskMissing("There is no such task.")
        task = lock_task(task_id)
        if task.status == TaskStatus.CANCELLED:
            return task
        if task.status in FINAL:
            raise TaskFinished("The task has ended already.", status=task.status)
        if task.status == TaskStatus.QUEUED:
            finish_locked_task(
                task, Outcome(status="cancelled", error=("cancelled", "Cancelled before it started."))
            )
            return task
        if task.cancel_requested_at is None:
            task.cancel_requested_at = now()
            task.save(update_fields=["cancel_requested_at"])
        sandbox = str(task.sandbox_id)
        # Whoever is woken before the commit, which may be a caller's, sees no wish to stop.
        transaction.on_commit(lambda: nudge("gateway", sandbox), robust=True)
        return task


def lock_task(task_id: uuid.UUID) -> Task:
    """Return one task, locked. Raises: TaskMissing."""
    task = Task.objects.select_for_update().filter(id=task_id).first()
    if task is None:
        raise TaskMissing("There is no such task.")
    return task


def _check_prompt(prompt: str) -> None:
    if not prompt.strip():
        raise PromptInvalid("The prompt is empty.", fields={"prompt": "empty"})
    if len(prompt) > MAX_PROMPT_CHARS:
        raise PromptInvalid(
            f"The prompt is longer than {MAX_PROMPT_CHARS} characters.", fields={"prompt": "too long"}
        )
    if "\x00" in prompt:
        raise PromptInvalid("The prompt holds a NUL character.", fields={"prompt": "NUL"})


def _create(
    actor: Actor,
    order: TaskOrder,
    workspace: Workspace,
    agent: Agent,
    source: str,
    *,
    parent: Task | None,
    hops: int,
) -> Task:
    return Task.objects.create(
        org_id=actor.org_id,
        workspace=workspace,
        agent=agent,
        user_id=actor.user_id,
        source=source,
        parent=parent,
        hops=hops,
        prompt=order.prompt,
        mode=order.mode,
        model=choose_model(agent, order.model),
        max_turns=order.max_turns or agent.max_turns,
        max_budget_microusd=_tighter(order.max_budget_microusd, agent.max_budget_microusd),
        timeout_s=order.timeout_s or agent.timeout_s,
        output_schema=order.output_schema if order.output_schema is not None else agent.output_schema,
        deliver_to=check_deliver_to(order.deliver_to),
        turn=workspace.turn_count,
        traceparent=tracing.traceparent(),
    )


def _claim_key(actor: Actor, key: str, order: TaskOrder) -> Task | None:
    """Return the task that this key made, or None after locking the key for this transaction."""
    if not key or len(key) > 200:
        raise Invalid("An Idempotency-Key has 1 to 200 characters.")
    with connection.cursor() as cursor:
        # Two requests with one key must not both miss the row that neither has committed.
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"{actor.org_id}/{actor.key}/{key}"]
        )
    row = IdempotencyKey.objects.select_related("task").filter(actor=actor.key, key=key).first()
    if row is None:
        return None
    if row.request_hash != order.digest():
        raise IdempotencyKeyReused("This Idempotency-Key was used with another body.")
    return row.task


def _refuse_when_full() -> None:
    with connection.cursor() as cursor:
        cursor.execute(_QUEUED)
        limit, count = cursor.fetchone()
    if count >= limit:
        raise QueueFull("The organisation's queue is full.", retry_after_s=30, limit=limit)


def _place(actor: Actor, order: TaskOrder, source: str) -> tuple[Workspace, Agent]:
    """Return the workspace, old or new, of which this is one turn more."""
    title = " ".join(order.prompt.split())[:80]
    if order.workspace_id is not None:
        workspace = get_open_workspace(actor, order.workspace_id)
        if order.agent_id is not None and order.agent_id != workspace.agent_id:
            raise Invalid("The workspace belongs to another agent.", fields={"agent_id": "differs"})
        agent = get_usable_agent(actor, workspace.agent_id)
        note_turn(workspace, title)
        return workspace, agent
    if order.agent_id is None:
        raise Invalid("An agent or a workspace is needed.", fields={"agent_id": "missing"})
    agent = get_usable_agent(actor, order.agent_id)
    is_session = order.mode == TaskMode.SESSION
    workspace = create_workspace(
        actor, agent, source=source, is_persistent=is_session, name=title, turn_count=1
    )
    return workspace, agent


def _tighter(one: int | None, other: int | None) -> int | None:
    limits = [limit for limit in (one, other) if limit is not None]
    return min(limits) if limits else None
