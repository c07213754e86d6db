"""Starting and stopping sandboxes. A worker's slot is held only while it does so, never while an agent thinks."""

from __future__ import annotations

import functools
import logging
import shutil
import uuid

from services.adapters.sandbox.registry import make_driver
from services.domain.agents.models import Provider
from services.domain.errors import EngineAway, NoRoom, Permanent
from services.domain.outbox.jobs import DispatchTask, SettleSandbox, StopSandbox, enqueue, host_queue
from services.domain.plane.actions import Taken, Wanted, change_state, release_sandbox, take_sandbox
from services.domain.plane.models import Sandbox, SandboxState
from services.domain.plane.paths import socket_dir
from services.domain.plane.queries import find_sandbox
from services.domain.ports.sandbox import SandboxDriver, SandboxLimits, SandboxSpec
from services.domain.tasks.dispatch import (
    Candidate,
    all_tenants_next_task,
    claim_task,
    fail_task,
    give_back_task,
)
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import mirror_sandbox_state
from services.kit.environment import environment
from services.kit.redisbus import nudge

log = logging.getLogger(__name__)

_MOST_SKIPPED = 50


@functools.cache
def driver() -> SandboxDriver:
    """Return this host's sandbox driver."""
    env = environment()
    return make_driver(
        env.sandbox_driver,
        env.installation,
        env.run_dir,
        data_dir=env.data_dir,
        docker_host=env.docker_host,
        environment=env.env,
    )


def dispatch_task(job: DispatchTask) -> None:
    """Give the next task, by fair order, a sandbox on this host; nothing happens when there is no room.

    Two rows in two databases cannot commit together: the sandbox is taken first, then the task is claimed for it. A
    crash in between leaves a sandbox without a task, which the sweep removes; the task is still queued.
    """
    skip: list[uuid.UUID] = []
    while len(skip) < _MOST_SKIPPED:
        candidate = all_tenants_next_task(skip)
        if candidate is None:
            return
        wanted = _wanted(candidate)
        try:
            taken = take_sandbox(environment().host_name, wanted) if wanted else None
        except NoRoom:
            return
        task = claim_task(candidate, taken.sandbox.id) if taken else None
        if wanted and taken and task:
            _start(task, taken, wanted)
            return
        if taken:
            release_sandbox(taken.sandbox, was_live=taken.is_live)
        skip.append(candidate.task_id)


def settle_sandbox(job: SettleSandbox) -> None:
    """Keep the sandbox of a task that has ended for the next turn, or destroy it; then serve who waits."""
    sandbox = find_sandbox(job.sandbox_id)
    if sandbox is None or _forwarded(sandbox, job):
        return
    if sandbox.task_id == job.task_id:
        busy = (SandboxState.BUSY, SandboxState.CREATING, SandboxState.PAUSED)
        if job.keep and sandbox.state == SandboxState.BUSY:
            change_state(sandbox.id, SandboxState.IDLE, expected=busy, task_id=job.task_id)
        else:
            destroy(sandbox)
    _dispatch_again(sandbox.org_id)


def stop_sandbox(job: StopSandbox) -> None:
    """Destroy a sandbox, whatever it is at; its task, if it has one, fails and says so."""
    sandbox = find_sandbox(job.sandbox_id)
    if sandbox is None or _forwarded(sandbox, job):
        return
    if sandbox.task_id is not None:
        fail_task(
            sandbox.org_id,
            sandbox.task_id,
            sandbox.id,
            reason=("sandbox_stopped", "The sandbox was stopped."),
        )
    destroy(sandbox)
    _dispatch_again(sandbox.org_id)


def remove_container(sandbox_id: uuid.UUID) -> None:
    """Remove a sandbox's container and the folder of its socket, if they are there."""
    driver().destroy(sandbox_id)
    shutil.rmtree(socket_dir(environment().run_dir, sandbox_id), ignore_errors=True)


def destroy(sandbox: Sandbox, *, error: str = "") -> None:
    """Remove a sandbox's container and socket, then free its slot. A persistent workspace's volume stays."""
    remove_container(sandbox.id)
    final = (
        SandboxState.FAILED if error else SandboxState.STOPPED if sandbox.volume else SandboxState.DESTROYED
    )
    change_state(sandbox.id, final, error=error)


def _wanted(candidate: Candidate) -> Wanted | None:
    env = environment()
    with tenant_transaction(candidate.org_id):
        task = Task.objects.select_related("agent", "workspace").filter(id=candidate.task_id).first()
    if task is None:
        return None
    uses_claude = task.agent.provider == Provider.CLAUDE
    return Wanted(
        org_id=task.org_id,
        workspace_id=task.workspace_id,
        task_id=task.id,
        image=env.agent_image_claude if uses_claude else env.agent_image,
        volume=task.workspace_id.hex if task.workspace.is_persistent else "",
        idle_stop_s=task.agent.idle_stop_s,
        memory_bytes=task.agent.memory_mb * 1024**2,
        cpus=task.agent.cpus,
    )


def _start(task: Task, taken: Taken, wanted: Wanted) -> None:
    sandbox = taken.sandbox
    if taken.evicted is not None:
        evicted = taken.evicted
        remove_container(evicted.id)
        mirror_sandbox_state(evicted.org_id, evicted.workspace_id, evicted.state, reason="evicted")
    if taken.is_live:
        nudge("gateway", str(sandbox.id))
        return
    try:
        _start_container(sandbox, wanted)
    except EngineAway as error:
        change_state(sandbox.id, SandboxState.FAILED, error=f"{error.code}: {error.message}")
        give_back_task(
            task.org_id,
            task.id,
            lease_token=task.lease_token,
            reason=(error.code, error.message),
            retry_after_s=2.0,
        )
    except Permanent as error:
        change_state(sandbox.id, SandboxState.FAILED, error=f"{error.code}: {error.message}")
        fail_task(task.org_id, task.id, sandbox.id, reason=(error.code, error.message))


def _start_container(sandbox: Sandbox, wanted: Wanted) -> None:
    env = environment()
    folder = socket_dir(env.run_dir, sandbox.id)
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    # The gateway opens the socket meanwhile; a runner that is faster tries again within 0.1 s.
    nudge("gateway", str(sandbox.id))
    driver().start(
        SandboxSpec(
            sandbox_id=sandbox.id,
            installation=env.installation,
            image=sandbox.image,
            socket_dir=folder,
            volume=sandbox.volume or None,
            limits=SandboxLimits(memory_bytes=wanted.memory_bytes, cpus=wanted.cpus),
        )
    )


def _forwarded(sandbox: Sandbox, job: SettleSandbox | StopSandbox) -> bool:
    """Pass a job on to the host that has the sandbox, if it is not this one."""
    if sandbox.host_id == environment().host_name:
        return False
    with tenant_transaction(sandbox.org_id):
        enqueue(job, queue=host_queue(sandbox.host_id))
    return True


def _dispatch_again(org_id: uuid.UUID) -> None:
    with tenant_transaction(org_id):
        enqueue(DispatchTask())
