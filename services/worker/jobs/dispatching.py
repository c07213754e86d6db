"""Giving tasks a sandbox, and people who wake a workspace: who is next, on which host, by the cheapest path."""

from __future__ import annotations

import functools
import logging
import uuid
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta
from typing import Any

from django.db import connections, transaction

from services.domain.agents.images import image_of_agent
from services.domain.agents.models import Agent
from services.domain.errors import (
    Conflict,
    EngineAway,
    ImageMissing,
    LeaseLost,
    NoRoom,
    SlipwayError,
    Temporary,
)
from services.domain.identity.models import Organisation
from services.domain.outbox.jobs import (
    DispatchTask,
    FillPool,
    SettleSandbox,
    StartTask,
    WakeSandbox,
    enqueue,
    host_queue,
)
from services.domain.plane.actions import (
    Taken,
    Wanted,
    change_state,
    name_volume,
    note_wanted,
    release_sandbox,
    show_state,
    take_sandbox,
)
from services.domain.plane.hosts import choose_host
from services.domain.plane.models import Sandbox, SandboxState
from services.domain.plane.queries import find_live_sandbox, find_sandbox, has_room
from services.domain.plane.volumes import find_volume, touch_volume
from services.domain.tasks.dispatch import (
    Candidate,
    all_tenants_get_candidate,
    all_tenants_has_queued,
    all_tenants_next_task,
    all_tenants_note_dispatch,
    claim_task,
    fail_task,
    give_back_task,
)
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.models import Workspace
from services.kit import tracing
from services.kit.clock import now
from services.kit.environment import environment
from services.kit.redisbus import nudge
from services.worker.engine_rest import EngineRest
from services.worker.jobs.images import bring_image
from services.worker.jobs.sandboxes import (
    IN_HAND,
    destroy,
    driver,
    forwarded,
    remove_evicted,
    start_container,
    unpause,
)
from services.worker.jobs.volumes import ensure_volume_here, storage
from services.worker.leases import LeaseKeeper
from services.worker.rounds import Rounds

log = logging.getLogger(__name__)

_MOST_SKIPPED = 50
_STARTS_AT_ONCE = 12
_REFILL_DELAY = timedelta(seconds=0.5)
_RETRY_S = 2.0
_rounds = Rounds()
_rest = EngineRest()
_leases = LeaseKeeper()


@functools.cache
def _starters() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_STARTS_AT_ONCE, thread_name_prefix="start")


class _Round:
    """What one job has begun: the starts it waits for at its end, and whether the warm pool was drawn on."""

    def __init__(self) -> None:
        self._starts: list[Future[None]] = []
        self.is_pool_wanted = False

    def begin(self, taken: Taken, task: Task) -> None:
        """Have a sandbox brought up beside this thread, which goes on to the next task."""
        _leases.keep(task)
        IN_HAND.add(taken.sandbox.id)
        self._starts.append(_starters().submit(_bring_up_for_task, taken, task))

    def finish(self) -> None:
        """Wait for what was begun: until then the broker keeps the job, and gives it out again after a crash."""
        wait(self._starts)
        self.order_refill()
        for start in self._starts:
            start.result()

    def order_refill(self) -> None:
        """Have the pool filled up a little later, so as not to compete with the first steps of who was just served."""
        if self.is_pool_wanted:
            with transaction.atomic(using="operator"):
                enqueue(
                    FillPool(),
                    queue=host_queue(environment().host_name),
                    not_before=now() + _REFILL_DELAY,
                    using="operator",
                )


def dispatch_task(job: DispatchTask) -> None:
    """Give waiting tasks a sandbox each, by fair order, until nobody waits or nothing is free.

    Two rows in two databases cannot commit together: the sandbox is taken first, then the task is claimed for it. A
    crash in between leaves a sandbox without a task, which the sweep removes; the task is still queued.
    Queues: StartTask for one whose place is on another host, FillPool.
    """
    work = _Round()
    _rounds.run(lambda: _serve_waiting(work))
    work.finish()


def dispatch_at_once() -> None:
    """Do a round for tasks that were submitted just now, without waiting for the starts that it begins.

    Whatever this does not do, or does not finish, the job does that was queued with the task.
    """
    work = _Round()
    _rounds.run(lambda: _serve_waiting(work))
    work.order_refill()


def start_task(job: StartTask) -> None:
    """Give one task a sandbox on this host, which another host's dispatcher chose; it is not passed on again.

    Raises: EngineAway, while the engine is left alone.
    """
    if _rest.left_s:
        raise EngineAway("The container engine does not answer.", retry_after_s=_rest.left_s)
    candidate = all_tenants_get_candidate(job.task_id)
    if candidate is None:
        return
    work = _Round()
    _take_here(candidate.task, wanted_by(candidate), work)
    work.finish()


def settle_sandbox(job: SettleSandbox) -> None:
    """Keep the sandbox of a task that has ended for the next turn, or destroy it; then serve who waits."""
    sandbox = find_sandbox(job.sandbox_id)
    if sandbox is None or forwarded(sandbox, job):
        return
    if sandbox.task_id == job.task_id:
        if sandbox.workspace_id is not None:
            touch_volume(sandbox.workspace_id)
        # A short turn may be over before the gateway has noted that it began.
        at_work = (SandboxState.BUSY, SandboxState.CREATING)
        if job.keep and sandbox.state in at_work:
            change_state(sandbox.id, SandboxState.IDLE, expected=at_work, task_id=job.task_id)
        else:
            destroy(sandbox)
    if all_tenants_has_queued():
        dispatch_task(DispatchTask())


def wake_sandbox(job: WakeSandbox) -> None:
    """Bring a workspace's sandbox up for a person: unpause it, claim a warm one, or start one with its files.

    Raises: NoRoom, EngineAway.
    """
    with tenant_transaction(job.org_id):
        workspace = Workspace.objects.select_related("agent").filter(id=job.workspace_id).first()
        organisation = Organisation.objects.get(id=job.org_id)
    if workspace is None:
        return
    wanted = wanted_of(
        workspace, organisation.max_idle_stop_s, organisation.max_archive_after_s, task_id=None
    )
    host = job.host or choose_host(wanted)
    if host is None:
        raise NoRoom("No host has room now.", retry_after_s=2.0)
    if host != environment().host_name:
        with tenant_transaction(job.org_id):
            enqueue(job.model_copy(update={"host": host}), queue=host_queue(host))
        return
    try:
        taken = take_sandbox(host, wanted)
    except LeaseLost as error:
        raise Temporary("The workspace's files are being moved.", retry_after_s=1.0) from error
    if taken is None:
        return
    note_wanted(taken, wanted)
    show_state(taken.sandbox)
    IN_HAND.add(taken.sandbox.id)
    try:
        _bring_up(taken)
    except Temporary as error:
        _give_up(taken.sandbox, error)
        raise
    except SlipwayError as error:
        _give_up(taken.sandbox, error)
    finally:
        IN_HAND.discard(taken.sandbox.id)


def wanted_of(
    workspace: Workspace,
    max_idle_stop_s: int,
    max_archive_after_s: int,
    *,
    task_id: uuid.UUID | None,
    may_be_claimed: bool = False,
) -> Wanted:
    """Return what a workspace needs of a sandbox: its agent's settings, within its organisation's bounds.

    What may be claimed by a reply to its answer keeps its files for that, for a while.
    """
    agent = workspace.agent
    archive_after_s = agent.archive_after_s
    return Wanted(
        org_id=workspace.org_id,
        workspace_id=workspace.id,
        task_id=task_id,
        **build_of(agent),
        is_persistent=workspace.is_persistent or may_be_claimed,
        idle_pause_s=agent.idle_pause_s,
        idle_stop_s=min(agent.idle_stop_s, max_idle_stop_s),
        archive_after_s=max_archive_after_s
        if archive_after_s is None
        else min(archive_after_s, max_archive_after_s),
    )


def build_of(agent: Agent) -> dict[str, Any]:
    """Return what is settled when a container of an agent is made; warm sandboxes have the same."""
    return {
        "image": image_of_agent(agent, environment()),
        "runtime": agent.runtime,
        "memory_bytes": agent.memory_mb * 1024**2,
        "cpus": agent.cpus,
        "disk_bytes": agent.disk_mb * 1024**2,
        "pids": agent.pids,
    }


def _serve_waiting(work: _Round) -> None:
    skip: list[uuid.UUID] = []
    while len(skip) < _MOST_SKIPPED:
        candidate = all_tenants_next_task(skip)
        if candidate is None:
            return
        if not _serve(candidate, work):
            if not has_room():
                return
            skip.append(candidate.task.id)


def _serve(candidate: Candidate, work: _Round) -> bool:
    """Give one task a sandbox; False when it is to be passed over in this round."""
    task, wanted = candidate.task, wanted_by(candidate)
    host = choose_host(wanted)
    if host is None:
        return False
    if host == environment().host_name and _rest.left_s and find_live_sandbox(wanted.workspace_id) is None:
        return False
    if host != environment().host_name:
        with tenant_transaction(task.org_id):
            enqueue(StartTask(task_id=task.id), queue=host_queue(host))
        return False
    return _take_here(task, wanted, work)


def wanted_by(candidate: Candidate) -> Wanted:
    """Return what a task needs of a sandbox."""
    task = candidate.task
    return wanted_of(
        task.workspace,
        candidate.max_idle_stop_s,
        candidate.max_archive_after_s,
        task_id=task.id,
        may_be_claimed=task.deliver_to is not None,
    )


def _take_here(waiting: Task, wanted: Wanted, work: _Round) -> bool:
    try:
        taken = take_sandbox(environment().host_name, wanted)
    except (NoRoom, LeaseLost):
        return False
    if taken is None:
        return False
    sandbox = taken.sandbox
    task = claim_task(waiting, sandbox.id, sandbox_state=sandbox.state)
    if task is None:
        release_sandbox(taken)
        if taken.evicted is not None:
            _clear(taken.evicted)
        return False
    if taken.is_ready:
        nudge("gateway", str(sandbox.id))
    else:
        work.begin(taken, task)
    note_wanted(taken, wanted)
    work.is_pool_wanted |= taken.is_for_pool
    all_tenants_note_dispatch(task.org_id)
    return True


def _bring_up_for_task(taken: Taken, task: Task) -> None:
    """Bring a sandbox up for a task that waits for it; what fails for a while puts the task back into the queue."""
    try:
        with tracing.span("sandbox.start", parent=task.traceparent, path=taken.path):
            _bring_up(taken)
    except (Temporary, Conflict) as error:
        retry_after_s = _rest.note_away() if isinstance(error, EngineAway) else _RETRY_S
        _give_up(taken.sandbox, error)
        give_back_task(
            task.org_id,
            task.id,
            lease_token=task.lease_token,
            reason=(error.code, error.message),
            retry_after_s=retry_after_s,
        )
    except SlipwayError as error:
        _give_up(taken.sandbox, error)
        fail_task(task.org_id, task.id, taken.sandbox.id, reason=(error.code, error.message))
    except Exception:
        # The lease runs out and another start follows; nobody may be waiting for this one's result.
        log.exception("sandbox %s was not brought up", taken.sandbox.id)
        raise
    else:
        _rest.note_answer()
    finally:
        IN_HAND.discard(taken.sandbox.id)
        _leases.drop(task)
        connections.close_all()


def _bring_up(taken: Taken) -> None:
    """Make so what the rows say: the evicted one goes, the taken one runs.

    Raises: EngineAway, ImageMissing, SandboxRefused, LeaseLost, StorageAway, SnapshotCorrupt, VolumeFull.
    """
    if taken.evicted is not None:
        _clear(taken.evicted)
    if taken.path == "unpaused":
        unpause(taken.sandbox)
    elif taken.is_live:
        nudge("gateway", str(taken.sandbox.id))
    else:
        if taken.path == "started":
            _bring_volume(taken.sandbox)
        _start(taken.sandbox)


def _start(sandbox: Sandbox) -> None:
    """Start a container; an agent's own image that only other hosts have is built here first."""
    try:
        start_container(sandbox)
    except ImageMissing:
        if sandbox.org_id is None or not bring_image(sandbox.org_id, sandbox.image):
            raise
        start_container(sandbox)


def _bring_volume(sandbox: Sandbox) -> None:
    volume = find_volume(sandbox.workspace_id) if sandbox.workspace_id else None
    if volume is None:
        raise LeaseLost("The workspace was deleted meanwhile.")
    sandbox.volume = ensure_volume_here(volume, driver(), storage()).name
    name_volume(sandbox)


def _clear(evicted: Sandbox) -> None:
    remove_evicted(evicted)
    show_state(evicted, reason=evicted.error)


def _give_up(sandbox: Sandbox, error: SlipwayError) -> None:
    """End a sandbox that could not be brought up. What the engine may have of it is removed by the sweep."""
    change_state(sandbox.id, SandboxState.FAILED, error=f"{error.code}: {error.message}")
