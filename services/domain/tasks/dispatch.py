"""Who is next, and taking it: the fair order between organisations, the lease, the hand-over to a sandbox."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Q

from services.domain.agents.models import Agent
from services.domain.events.announcing import announce_change
from services.domain.events.listed import TaskChanged
from services.domain.identity.models import Organisation
from services.domain.outbox.jobs import DispatchTask, enqueue
from services.domain.tasks.finish import Outcome, finish_locked_task
from services.domain.tasks.models import ACTIVE, Task, TaskStatus
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import note_sandbox_state
from services.domain.workspaces.models import Workspace
from services.kit.clock import now
from services.kit.rows import first_of

START_LEASE = timedelta(seconds=20)
# With the pauses that an engine is left alone for, an engine that is away for a minute costs no task.
MAX_START_ATTEMPTS = 8

# One row for each organisation that has something runnable: its oldest task whose workspace is free. Among these, the
# organisation with the least at work goes first, then the one that was served longest ago: nobody's long queue
# delays anybody else's short one.
_NEXT = """
WITH busy AS (
    SELECT org_id, count(*) AS running FROM task WHERE status IN ('starting', 'running', 'waiting') GROUP BY org_id
), heads AS (
    SELECT DISTINCT ON (t.org_id) t.org_id, t.id, t.workspace_id, t.agent_id
    FROM task t
    WHERE t.status = 'queued' AND NOT (t.id = ANY(%s))
      AND NOT EXISTS (SELECT 1 FROM task a WHERE a.workspace_id = t.workspace_id
                      AND a.status IN ('starting', 'running', 'waiting'))
      AND NOT EXISTS (SELECT 1 FROM task e WHERE e.workspace_id = t.workspace_id
                      AND e.status = 'queued' AND e.id < t.id)
    ORDER BY t.org_id, t.id
)
SELECT heads.id FROM heads
JOIN organisation o ON o.id = heads.org_id
LEFT JOIN busy ON busy.org_id = heads.org_id
WHERE o.suspended_at IS NULL AND coalesce(busy.running, 0) < o.max_running_tasks
ORDER BY coalesce(busy.running, 0), o.last_dispatched_at NULLS FIRST, heads.id
LIMIT 1
"""


# These are written out, as the ORM takes longer to make such statements than the server to run them.
_CANDIDATE = """
SELECT t.*, o.max_idle_stop_s AS most_idle_s, o.max_archive_after_s AS most_archive_after_s
FROM task t JOIN organisation o ON o.id = t.org_id WHERE t.status = 'queued' AND t.id = {id}
"""
_WORKSPACE = "SELECT * FROM workspace WHERE id = %s"
_AGENT = "SELECT * FROM agent WHERE id = %s"
_CLAIM = """
UPDATE task SET status = 'starting', sandbox_id = %s, attempt = attempt + 1, lease_token = %s, lease_until = %s
WHERE id = %s AND status = 'queued' AND NOT EXISTS (
    SELECT 1 FROM task a WHERE a.workspace_id = task.workspace_id AND a.status IN ('starting', 'running', 'waiting')
) RETURNING *
"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A task that waits for a sandbox, with its workspace and that one's agent, and its organisation's bounds in s."""

    task: Task
    max_idle_stop_s: int
    max_archive_after_s: int


def all_tenants_next_task(skip: list[uuid.UUID]) -> Candidate | None:
    """Return the task that should start next, leaving out those in `skip`, or None when nothing is runnable."""
    return _find_candidate(_CANDIDATE.format(id=f"({_NEXT})"), [skip])


def all_tenants_get_candidate(task_id: uuid.UUID) -> Candidate | None:
    """Return a task that waits for a sandbox, or None when it does not (any more)."""
    return _find_candidate(_CANDIDATE.format(id="%s"), [task_id])


def _find_candidate(statement: str, parameters: list[Any]) -> Candidate | None:
    task = first_of(Task.objects.using("operator").raw(statement, parameters))
    if task is None:
        return None
    workspace = first_of(Workspace.objects.using("operator").raw(_WORKSPACE, [task.workspace_id]))
    if workspace is None:
        return None
    agent = first_of(Agent.objects.using("operator").raw(_AGENT, [workspace.agent_id]))
    if agent is None:
        return None
    workspace.agent, task.workspace = agent, workspace
    # Columns of the organisation, which the statement adds.
    bounds: Any = task
    return Candidate(task, bounds.most_idle_s, bounds.most_archive_after_s)


def all_tenants_note_dispatch(org_id: uuid.UUID) -> None:
    """Remember that an organisation was just served, for the fair order."""
    Organisation.objects.using("operator").filter(id=org_id).update(last_dispatched_at=now())


def claim_task(waiting: Task, sandbox_id: uuid.UUID, *, sandbox_state: str = "") -> Task | None:
    """Take a queued task for a sandbox with a fresh lease; None when somebody else was faster.

    Readers of the workspace see the sandbox's state, when it is given, change together with the task's.
    Emits: SandboxChanged, TaskChanged.
    """
    with tenant_transaction(waiting.org_id):
        lease = [sandbox_id, uuid.uuid4(), now() + START_LEASE]
        task = first_of(Task.objects.raw(_CLAIM, [*lease, waiting.id]))
        if task is None:
            return None
        if sandbox_state:
            note_sandbox_state(task.workspace_id, sandbox_state)
        announce_change(TaskChanged, task)
    return task


def renew_start(org_id: uuid.UUID, task_id: uuid.UUID, lease_token: uuid.UUID | None) -> bool:
    """Prolong the lease of a start that takes its time; False when it is not ours any more."""
    with tenant_transaction(org_id):
        ours = Task.objects.filter(id=task_id, status=TaskStatus.STARTING, lease_token=lease_token)
        return bool(ours.update(lease_until=now() + START_LEASE))


def give_back_task(
    org_id: uuid.UUID,
    task_id: uuid.UUID,
    *,
    lease_token: uuid.UUID | None,
    reason: tuple[str, str],
    retry_after_s: float = 0.0,
) -> bool:
    """Return a task whose start failed to the queue; after too many attempts it fails with the reason.

    Guarded by the lease: True only when it was still ours. Queues: DispatchTask.
    """
    with tenant_transaction(org_id):
        task = (
            Task.objects.select_for_update()
            .filter(id=task_id, status=TaskStatus.STARTING, lease_token=lease_token)
            .first()
        )
        if task is None:
            return False
        if task.attempt >= MAX_START_ATTEMPTS or task.cancel_requested_at is not None:
            is_cancelled = task.cancel_requested_at is not None
            return finish_locked_task(task, Outcome("cancelled" if is_cancelled else "failed", error=reason))
        task.status = TaskStatus.QUEUED
        task.sandbox_id = task.lease_token = task.lease_until = None
        task.save()
        announce_change(TaskChanged, task)
        enqueue(
            DispatchTask(), not_before=now() + timedelta(seconds=retry_after_s) if retry_after_s else None
        )
        return True


def fail_task(
    org_id: uuid.UUID, task_id: uuid.UUID, sandbox_id: uuid.UUID | None, *, reason: tuple[str, str]
) -> bool:
    """End a task that cannot go on, as failed, or as what was asked for when it was being cancelled.

    Guarded by the sandbox: a task that went on to another sandbox is left alone.
    """
    with tenant_transaction(org_id):
        task = (
            Task.objects.select_for_update()
            .filter(id=task_id, sandbox_id=sandbox_id, status__in=ACTIVE)
            .first()
        )
        if task is None:
            return False
        if task.cancel_requested_at is not None:
            return finish_locked_task(task, Outcome(status="cancelled", error=("cancelled", "Cancelled.")))
        return finish_locked_task(task, Outcome(status="failed", error=reason))


def expire_task(org_id: uuid.UUID, task_id: uuid.UUID) -> bool:
    """End a task that is past its deadline and whose runner did not end it."""
    with tenant_transaction(org_id):
        task = Task.objects.select_for_update().filter(id=task_id, status__in=ACTIVE).first()
        if task is None or task.deadline_at is None or task.deadline_at > now():
            return False
        message = f"The task ran longer than its {task.timeout_s} seconds."
        return finish_locked_task(task, Outcome(status="expired", error=("timeout", message)))


@dataclass(frozen=True, slots=True)
class StuckTask:
    """A task that somebody else must look after."""

    org_id: uuid.UUID
    task_id: uuid.UUID
    sandbox_id: uuid.UUID | None
    lease_token: uuid.UUID | None


def all_tenants_lost_starts() -> list[StuckTask]:
    """List the tasks whose start was leased and neither came about nor was given back."""
    return _stuck(Q(status=TaskStatus.STARTING, lease_until__lt=now()))


def all_tenants_overdue(*, grace: timedelta) -> list[StuckTask]:
    """List the tasks at work that are past their deadline by more than the grace that their runner has."""
    return _stuck(Q(status__in=ACTIVE, deadline_at__lt=now() - grace))


def all_tenants_deaf_to_cancel(*, grace: timedelta) -> list[StuckTask]:
    """List the tasks that were to be cancelled and whose runner did not do so in time."""
    return _stuck(Q(status__in=ACTIVE, cancel_requested_at__lt=now() - grace))


def all_tenants_astray(taken: dict[uuid.UUID, uuid.UUID], *, grace: timedelta) -> set[uuid.UUID]:
    """Return those of the sandboxes (by the task that each says it has) that nobody will settle any more.

    Their task is not there, was never claimed for them, works elsewhere, or ended longer ago than the grace.
    """
    edge = now() - grace
    rows = Task.objects.using("operator").filter(id__in=list(taken))
    known = {row.id: row for row in rows.only("id", "sandbox_id", "finished_at")}
    return {
        sandbox_id
        for task_id, sandbox_id in taken.items()
        if (row := known.get(task_id)) is None
        or row.sandbox_id != sandbox_id
        or (row.finished_at is not None and row.finished_at < edge)
    }


def all_tenants_has_queued() -> bool:
    """Say whether any task waits for a sandbox."""
    return Task.objects.using("operator").filter(status=TaskStatus.QUEUED).exists()


def _stuck(which: Q) -> list[StuckTask]:
    rows = (
        Task.objects.using("operator").filter(which).values_list("org_id", "id", "sandbox_id", "lease_token")
    )
    return [StuckTask(*row) for row in rows[:200]]
