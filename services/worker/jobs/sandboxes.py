"""This host's sandboxes: starting, pausing and removing them. A worker's slot is held only while it does so."""

from __future__ import annotations

import functools
import logging
import shutil
import threading
import uuid

from services.adapters.sandbox.registry import make_host_driver
from services.domain.errors import StillInUse, Temporary
from services.domain.outbox.jobs import PauseSandbox, SettleSandbox, StopSandbox
from services.domain.plane.actions import change_state, enqueue_on_host, is_volume_kept
from services.domain.plane.models import HOLDS_SLOT, Sandbox, SandboxState
from services.domain.plane.paths import socket_dir
from services.domain.plane.queries import find_sandbox
from services.domain.ports.sandbox import Promise, SandboxDriver, SandboxLimits, SandboxSpec, read_gaps
from services.domain.tasks.dispatch import fail_task
from services.domain.tasks.runner import all_tenants_link_work
from services.kit.environment import environment
from services.kit.redisbus import nudge
from services.worker.jobs.metering import meter_sandbox

log = logging.getLogger(__name__)

IN_HAND: set[uuid.UUID] = set()
"""The sandboxes that this process is bringing up now: whoever finds no container yet leaves them alone."""

_LOCKS = [threading.Lock() for _ in range(64)]


@functools.cache
def driver() -> SandboxDriver:
    """Return this host's sandbox driver."""
    return make_host_driver(environment())


def engine_lock(sandbox: Sandbox) -> threading.Lock:
    """Return the lock under which the engine is told something of a sandbox.

    The row says what shall be; who holds the lock and finds it so may make it so. All sandboxes that use one volume,
    one after the other, share the lock: the old one is gone before the new one starts.
    """
    return _LOCKS[hash(sandbox.volume or sandbox.id.hex) % len(_LOCKS)]


def start_container(sandbox: Sandbox) -> bool:
    """Start the container of a new sandbox; False when it was stopped before it had one.

    Raises: EngineAway, ImageMissing, SandboxRefused.
    """
    env = environment()
    with engine_lock(sandbox):
        row = find_sandbox(sandbox.id)
        if row is None or row.state not in HOLDS_SLOT:
            return False
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
                volume=sandbox.volume,
                limits=SandboxLimits(
                    memory_bytes=sandbox.memory_bytes,
                    cpus=sandbox.cpus,
                    pids=sandbox.pids,
                    disk_bytes=sandbox.disk_bytes,
                ),
                runtime=sandbox.runtime or None,
                accepted_gaps=accepted_gaps(),
            )
        )
    return True


def accepted_gaps() -> frozenset[Promise]:
    """Return the promises that the operator of this host lets its sandboxes break."""
    return read_gaps(environment().accepted_gaps)


def pause_sandbox(job: PauseSandbox) -> None:
    """Freeze a sandbox that is idle; one that got work meanwhile is left alone. Raises: Temporary."""
    sandbox = find_sandbox(job.sandbox_id)
    if sandbox is not None and not forwarded(sandbox, job) and not _is_at_work(sandbox):
        pause(sandbox)


def pause(sandbox: Sandbox) -> None:
    """Freeze a sandbox that is idle still, where the engine can: it keeps its memory and uses no processor time."""
    if not driver().can_pause:
        return
    with engine_lock(sandbox):
        if change_state(sandbox.id, SandboxState.PAUSED, expected=[SandboxState.IDLE]):
            driver().pause(sandbox.id)


def unpause(sandbox: Sandbox) -> None:
    """Let a sandbox go on whose row says that it runs, and have the gateway look."""
    with engine_lock(sandbox):
        driver().unpause(sandbox.id)
    nudge("gateway", str(sandbox.id))


def set_running(sandbox: Sandbox) -> None:
    """Have the engine do what a sandbox's row says: freeze it, or let it go on."""
    with engine_lock(sandbox):
        row = find_sandbox(sandbox.id)
        if row is not None and row.state == SandboxState.PAUSED:
            driver().pause(row.id)
        elif row is not None and row.state in HOLDS_SLOT:
            driver().unpause(row.id)


def stop_if_at_rest(sandbox: Sandbox, *, reason: str) -> None:
    """Remove a sandbox that is idle or paused still; its workspace's files stay."""
    final = SandboxState.STOPPED if is_volume_kept(sandbox) else SandboxState.DESTROYED
    with engine_lock(sandbox):
        # Only one at rest: a task may have taken it since it was looked at.
        at_rest = [SandboxState.IDLE, SandboxState.PAUSED]
        if change_state(sandbox.id, final, expected=at_rest, error=reason):
            _remove(sandbox)


def stop_sandbox(job: StopSandbox) -> None:
    """Destroy a sandbox, whatever it is at; its task, if it has one, fails and says so. Raises: Temporary."""
    sandbox = find_sandbox(job.sandbox_id)
    if sandbox is None or forwarded(sandbox, job):
        return
    if job.is_idle_only:
        if not _is_at_work(sandbox):
            stop_if_at_rest(sandbox, reason="stopped")
        return
    if sandbox.task_id is not None and sandbox.org_id is not None:
        reason = ("sandbox_stopped", "The sandbox was stopped.")
        fail_task(sandbox.org_id, sandbox.task_id, sandbox.id, reason=reason)
    destroy(sandbox)


def _is_at_work(sandbox: Sandbox) -> bool:
    """Say whether a sandbox has a task that goes on. Raises: Temporary when it has one that is not settled yet."""
    if sandbox.task_id is None:
        return False
    work = all_tenants_link_work([sandbox.task_id]).get(sandbox.task_id)
    if work is not None and not work.is_active:
        raise Temporary("The sandbox's task has just ended.", retry_after_s=0.3)
    return True


def destroy(sandbox: Sandbox, *, error: str = "") -> None:
    """Remove a sandbox's container and socket, then free its slot. A persistent workspace's volume stays."""
    with engine_lock(sandbox):
        final = SandboxState.STOPPED if is_volume_kept(sandbox) else SandboxState.DESTROYED
        _remove(sandbox)
        if error:
            change_state(sandbox.id, SandboxState.FAILED, expected=HOLDS_SLOT, error=error)
        else:
            change_state(sandbox.id, final)


def remove_evicted(sandbox: Sandbox) -> None:
    """Remove the container of a sandbox whose row has ended or was stopped, and its volume if it is nobody's."""
    with engine_lock(sandbox):
        _remove(sandbox)


def remove_container(sandbox_id: uuid.UUID) -> None:
    """Remove a sandbox's container and the folder of its socket, if they are there."""
    driver().destroy(sandbox_id)
    shutil.rmtree(socket_dir(environment().run_dir, sandbox_id), ignore_errors=True)


def _remove(sandbox: Sandbox) -> None:
    meter_sandbox(sandbox, driver())
    remove_container(sandbox.id)
    if sandbox.volume and not is_volume_kept(sandbox):
        try:
            driver().remove_volume(sandbox.volume)
        except StillInUse as error:
            # The engine lets go of it a moment later; the sweep of volumes that nobody holds takes it then.
            log.info("volume %s stays for now: %s", sandbox.volume, error)


def forwarded(sandbox: Sandbox, job: SettleSandbox | StopSandbox | PauseSandbox) -> bool:
    """Pass a job on to the host that has the sandbox, if it is not this one."""
    if sandbox.host_id == environment().host_name:
        return False
    enqueue_on_host(sandbox, job)
    return True
