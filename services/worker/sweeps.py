"""The platform's periodic jobs: each repairs what a crash or a lost message left behind. All may run twice."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.db import connections, transaction

from services.domain.chats.outbound import all_tenants_due_batches, all_tenants_typing_tasks
from services.domain.errors import SlipwayError
from services.domain.outbox.jobs import DispatchTask, SendDelivery, ShowTyping, enqueue
from services.domain.plane.actions import change_state, register_host
from services.domain.plane.models import Sandbox, SandboxState
from services.domain.plane.queries import (
    find_sandbox,
    list_idle_too_long,
    list_served,
    list_stopped,
    list_unsure,
)
from services.domain.playbooks.actions import all_tenants_claim_due_playbooks
from services.domain.ports.sandbox import Promise, SandboxStatus
from services.domain.tasks.dispatch import (
    StuckTask,
    all_tenants_deaf_to_cancel,
    all_tenants_has_queued,
    all_tenants_lost_starts,
    all_tenants_overdue,
    expire_task,
    fail_task,
    give_back_task,
)
from services.domain.tasks.spending import all_tenants_settle_abandoned
from services.domain.tasks.tokens import all_tenants_forget_old_tokens
from services.domain.workspaces.queries import all_tenants_existing
from services.kit.clock import now
from services.kit.environment import environment
from services.worker.dead_letters import drain_dead_letters
from services.worker.jobs.sandboxes import destroy, driver, remove_container

log = logging.getLogger(__name__)

RUNNER_GRACE = timedelta(seconds=15)
LINK_GRACE = timedelta(seconds=15)
SILENT_LIMIT = timedelta(seconds=120)
ORPHAN_GRACE = timedelta(seconds=60)
ABANDONED_CALL = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Sweep:
    """One periodic job: its name on the wire, its interval, what it does."""

    name: str
    every_s: float
    run: Callable[[], None]


def sweep_tasks() -> None:
    """End or restart tasks that nobody is looking after any more, and wake the dispatcher if anything waits."""
    for stuck in all_tenants_lost_starts():
        _restart(stuck)
    for stuck in all_tenants_overdue(grace=RUNNER_GRACE):
        expire_task(stuck.org_id, stuck.task_id)
    for stuck in all_tenants_deaf_to_cancel(grace=RUNNER_GRACE):
        fail_task(stuck.org_id, stuck.task_id, stuck.sandbox_id, reason=("cancelled", "Cancelled."))
    if all_tenants_has_queued():
        with transaction.atomic(using="operator"):
            enqueue(DispatchTask(), using="operator")


def sweep_sandboxes() -> None:
    """Compare this host's sandboxes with its engine: remove the lost, the idle and the unknown."""
    env = environment()
    engine = driver().check()
    register_host(
        env.host_name,
        driver=env.sandbox_driver,
        slots=env.sandbox_slots,
        engine_version=engine.version,
        missing_promises=sorted(set(Promise) - driver().promises),
    )
    if not engine.is_up:
        log.error("the sandbox engine does not answer: %s", engine.note)
        return
    for sandbox in list_idle_too_long(env.host_name):
        # Only an idle one: a task may have taken it since it was listed.
        if change_state(sandbox.id, SandboxState.STOPPED, expected=[SandboxState.IDLE], error="idle"):
            remove_container(sandbox.id)
    for sandbox in list_unsure(env.host_name, older_than=LINK_GRACE):
        _examine(sandbox)
    _remove_unknown()
    _remove_volumes_of_deleted_workspaces()


def sweep_deliveries() -> None:
    """Wake the senders of what is due, and show typing where somebody waits for an agent at work."""
    with transaction.atomic(using="operator"):
        for org_id, batch in all_tenants_due_batches():
            enqueue(SendDelivery(org_id=org_id, batch=batch), using="operator")
        for org_id, task_id in all_tenants_typing_tasks():
            enqueue(ShowTyping(org_id=org_id, task_id=task_id), using="operator")


def sweep_playbooks() -> None:
    """Claim the playbooks that are due."""
    all_tenants_claim_due_playbooks()


def sweep_records() -> None:
    """Settle model calls that nobody settled, forget dead tokens, keep what the broker gave up on."""
    all_tenants_settle_abandoned(older_than=ABANDONED_CALL)
    all_tenants_forget_old_tokens()
    drain_dead_letters()


def _restart(stuck: StuckTask) -> None:
    reason = ("sandbox_silent", "The sandbox did not report in time.")
    given_back = give_back_task(stuck.org_id, stuck.task_id, lease_token=stuck.lease_token, reason=reason)
    sandbox = find_sandbox(stuck.sandbox_id) if given_back and stuck.sandbox_id else None
    if (
        sandbox is not None
        and sandbox.task_id == stuck.task_id
        and sandbox.host_id == environment().host_name
    ):
        destroy(sandbox, error=reason[1])


def _examine(sandbox: Sandbox) -> None:
    """Ask the engine about a sandbox whose link is not open. One that runs gets time to reconnect."""
    report = driver().inspect(sandbox.id)
    silent_since = sandbox.link_until or sandbox.state_at
    if report.status in (SandboxStatus.RUNNING, SandboxStatus.PAUSED) and silent_since + SILENT_LIMIT > now():
        return
    reason = _reason_of_loss(sandbox, report.status, is_out_of_memory=report.is_out_of_memory)
    if sandbox.task_id is not None:
        fail_task(sandbox.org_id, sandbox.task_id, sandbox.id, reason=reason)
    destroy(sandbox, error=f"{reason[0]}: {reason[1]}")


def _reason_of_loss(sandbox: Sandbox, status: SandboxStatus, *, is_out_of_memory: bool) -> tuple[str, str]:
    if is_out_of_memory:
        return ("sandbox_out_of_memory", "The sandbox used more memory than it may.")
    if status in (SandboxStatus.RUNNING, SandboxStatus.PAUSED):
        return ("sandbox_silent", "The sandbox ran on without a word from its runner.")
    log.warning(
        "sandbox %s is lost; its last words: %s", sandbox.id, driver().read_log(sandbox.id, max_bytes=2_000)
    )
    return ("sandbox_lost", "The sandbox ended before its task did.")


def _remove_unknown() -> None:
    """Destroy containers with our label that no row holds, after a grace in which a row may still appear."""
    known = {sandbox.id for sandbox in list_served(environment().host_name)}
    for report in driver().list_sandboxes():
        if report.sandbox_id in known:
            continue
        row = find_sandbox(report.sandbox_id)
        if row is None or row.state_at + ORPHAN_GRACE < now():
            log.warning("removing a sandbox that nobody holds: %s", report.sandbox_id)
            remove_container(report.sandbox_id)


def _remove_volumes_of_deleted_workspaces() -> None:
    stopped = list(list_stopped(environment().host_name)[:200])
    existing = all_tenants_existing([sandbox.workspace_id for sandbox in stopped])
    for sandbox in stopped:
        if sandbox.workspace_id not in existing:
            driver().remove_volume(sandbox.volume)
            change_state(sandbox.id, SandboxState.DESTROYED)


def _guarded(run: Callable[[], None]) -> Callable[[], None]:
    """Wrap a sweep: a failure is logged and left to the next round; connections go back to their pools."""

    def sweep() -> None:
        try:
            run()
        except SlipwayError as error:
            log.warning("sweep %s stopped early: %s", run.__name__, error)
        finally:
            connections.close_all()

    return sweep


SWEEPS = [
    Sweep("sweep.tasks", 5.0, _guarded(sweep_tasks)),
    Sweep("sweep.sandboxes", 5.0, _guarded(sweep_sandboxes)),
    Sweep("sweep.deliveries", 4.0, _guarded(sweep_deliveries)),
    Sweep("sweep.playbooks", 5.0, _guarded(sweep_playbooks)),
    Sweep("sweep.records", 30.0, _guarded(sweep_records)),
]
