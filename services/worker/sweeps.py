"""The platform's periodic jobs: each repairs what a crash or a lost message left behind. All may run twice."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.db import connections, transaction

from services.domain.approvals.actions import (
    all_tenants_close_calls_of_ended_tasks,
    all_tenants_expire_approvals,
)
from services.domain.approvals.held import all_tenants_forget_held_calls, all_tenants_lose_held_calls
from services.domain.audit.queries import all_tenants_forget_audit
from services.domain.calls.records import all_tenants_forget_calls
from services.domain.chats.drawers import all_tenants_forget_entries
from services.domain.chats.health import all_tenants_claim_due_checks
from services.domain.chats.outbound import all_tenants_due_batches
from services.domain.errors import SlipwayError
from services.domain.events.retention import all_tenants_forget_events
from services.domain.idempotency.keeping import all_tenants_forget_answers
from services.domain.identity.signing import all_tenants_forget_nonces
from services.domain.letters.posting import KEPT as LETTERS_KEPT
from services.domain.letters.posting import all_tenants_forget_old_letters
from services.domain.llm.logs import all_tenants_forget_call_logs
from services.domain.llm.spending import all_tenants_settle_abandoned
from services.domain.media.fetching import all_tenants_due_files
from services.domain.metering.actions import all_tenants_forget_meters
from services.domain.oauth.sweeping import all_tenants_sweep_oauth
from services.domain.outbox.jobs import (
    CheckLink,
    DispatchTask,
    FetchFile,
    FillPool,
    SendDelivery,
    StopSandbox,
    enqueue,
)
from services.domain.plane.actions import enqueue_on_host
from services.domain.plane.queries import find_sandbox
from services.domain.playbooks.actions import all_tenants_claim_due_playbooks
from services.domain.questions.actions import all_tenants_expire_questions
from services.domain.retention.chats import all_tenants_forget_old_chats
from services.domain.rooms.files import all_tenants_forget_unsaid_files
from services.domain.tasks.dispatch import (
    StuckTask,
    all_tenants_deaf_to_cancel,
    all_tenants_has_queued,
    all_tenants_lost_starts,
    all_tenants_overdue,
    expire_task,
    fail_task,
    give_back_task,
    renew_start,
)
from services.domain.tasks.tokens import all_tenants_forget_old_tokens
from services.domain.tasks.waiting import all_tenants_wake_unseen
from services.domain.vault.keeping import all_tenants_forget_old_versions, all_tenants_notice_expiring
from services.domain.webhooks.sending import all_tenants_due_webhooks, all_tenants_forget_webhooks
from services.kit.clock import now
from services.kit.environment import environment
from services.worker.dead_letters import drain_dead_letters
from services.worker.health import check_sandboxes, rest_sandboxes
from services.worker.jobs.archiving import sweep_volumes
from services.worker.jobs.commands import sweep_commands
from services.worker.jobs.exporting import sweep_departures
from services.worker.jobs.hosts import beat_host, sweep_hosts
from services.worker.jobs.images import sweep_images
from services.worker.jobs.inbound_files import forget_old_files
from services.worker.jobs.metering import sweep_disks, sweep_usage
from services.worker.jobs.pool import fill_pool
from services.worker.jobs.sandboxes import IN_HAND, destroy, driver

log = logging.getLogger(__name__)

RUNNER_GRACE = timedelta(seconds=15)
ABANDONED_CALL = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Sweep:
    """One periodic job: its name on the wire, its interval, what it does.

    One that `is_hosts_own` looks after the host that runs it: every worker runs it by itself, whatever becomes of beat
    and broker. Of the others one a round is enough.
    """

    name: str
    every_s: float
    run: Callable[[], None]
    is_hosts_own: bool = False


def sweep_tasks() -> None:
    """End or restart tasks that nobody is looking after any more, and wake the dispatcher if anything waits."""
    for stuck in all_tenants_lost_starts():
        _restart(stuck)
    all_tenants_wake_unseen()
    for stuck in all_tenants_overdue(grace=RUNNER_GRACE):
        expire_task(stuck.org_id, stuck.task_id)
    for stuck in all_tenants_deaf_to_cancel(grace=RUNNER_GRACE):
        fail_task(stuck.org_id, stuck.task_id, stuck.sandbox_id, reason=("cancelled", "Cancelled."))
    if all_tenants_has_queued():
        with transaction.atomic(using="operator"):
            enqueue(DispatchTask(), using="operator")


def sweep_sandboxes() -> None:
    """Compare this host's sandboxes with its engine: the lost and the unknown go, what is idle comes to rest."""
    if beat_host() is not None:
        rest_sandboxes()
        check_sandboxes()


def sweep_pool() -> None:
    """Bring this host's warm pool to the size that recent demand asks for."""
    fill_pool(FillPool())


def sweep_deliveries() -> None:
    """Wake the senders of what is due."""
    with transaction.atomic(using="operator"):
        for org_id, batch in all_tenants_due_batches():
            enqueue(SendDelivery(org_id=org_id, batch=batch), using="operator")


def sweep_webhooks() -> None:
    """Send what waits for a job that was lost, and forget what was told long ago."""
    with transaction.atomic(using="operator"):
        for job in all_tenants_due_webhooks():
            enqueue(job, using="operator")
    all_tenants_forget_webhooks()


def sweep_links() -> None:
    """Have the links checked that are due."""
    due = all_tenants_claim_due_checks()
    with transaction.atomic(using="operator"):
        for org_id, link_id in due:
            enqueue(CheckLink(org_id=org_id, link_id=link_id), using="operator")


def sweep_files() -> None:
    """Wake the fetchers of files whose job was lost, or whose time is up."""
    with transaction.atomic(using="operator"):
        for org_id, file_id in all_tenants_due_files():
            enqueue(FetchFile(org_id=org_id, file_id=file_id), using="operator")


def sweep_playbooks() -> None:
    """Claim the playbooks that are due."""
    all_tenants_claim_due_playbooks()


def sweep_events() -> None:
    """Forget the oldest events of what tells of more than its followers will ask for."""
    all_tenants_forget_events()


def sweep_records() -> None:
    """Settle abandoned model calls, close unanswered questions, forget old rows, keep what the broker gave up on."""
    all_tenants_settle_abandoned(older_than=ABANDONED_CALL)
    all_tenants_forget_call_logs()
    all_tenants_forget_old_tokens()
    all_tenants_forget_calls()
    all_tenants_forget_unsaid_files()
    all_tenants_forget_old_chats()
    all_tenants_sweep_oauth()
    all_tenants_expire_approvals()
    all_tenants_expire_questions()
    all_tenants_notice_expiring()
    all_tenants_forget_old_versions()
    all_tenants_close_calls_of_ended_tasks()
    all_tenants_lose_held_calls()
    all_tenants_forget_held_calls()
    all_tenants_forget_meters()
    all_tenants_forget_audit(now() - timedelta(days=environment().audit_days))
    all_tenants_forget_nonces()
    all_tenants_forget_old_letters(now() - LETTERS_KEPT)
    all_tenants_forget_answers()
    all_tenants_forget_entries()
    drain_dead_letters()


def meter() -> None:
    """Count what this host's sandboxes have used since the last round."""
    sweep_usage(driver())


def _restart(stuck: StuckTask) -> None:
    if stuck.sandbox_id in IN_HAND:
        # Somebody woke the sandbox before the task came, and its files are still on their way.
        renew_start(stuck.org_id, stuck.task_id, stuck.lease_token)
        return
    reason = ("sandbox_silent", "The sandbox did not report in time.")
    given_back = give_back_task(stuck.org_id, stuck.task_id, lease_token=stuck.lease_token, reason=reason)
    sandbox = find_sandbox(stuck.sandbox_id) if given_back and stuck.sandbox_id else None
    if sandbox is None or sandbox.task_id != stuck.task_id:
        return
    if sandbox.host_id == environment().host_name:
        destroy(sandbox, error=reason[1])
    else:
        enqueue_on_host(sandbox, StopSandbox(sandbox_id=sandbox.id))


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


def beat() -> None:
    """Say that this host is alive."""
    beat_host()


SWEEPS = [
    Sweep("sweep.beat", environment().host_beat_s, _guarded(beat), is_hosts_own=True),
    Sweep("sweep.tasks", 5.0, _guarded(sweep_tasks)),
    Sweep("sweep.sandboxes", 5.0, _guarded(sweep_sandboxes), is_hosts_own=True),
    Sweep("sweep.volumes", 5.0, _guarded(sweep_volumes), is_hosts_own=True),
    Sweep("sweep.pool", 5.0, _guarded(sweep_pool), is_hosts_own=True),
    Sweep("sweep.hosts", 5.0, _guarded(sweep_hosts), is_hosts_own=True),
    Sweep("sweep.images", 30.0, _guarded(sweep_images), is_hosts_own=True),
    Sweep("sweep.usage", 15.0, _guarded(meter), is_hosts_own=True),
    Sweep("sweep.disks", 300.0, _guarded(sweep_disks), is_hosts_own=True),
    Sweep("sweep.commands", 5.0, _guarded(sweep_commands)),
    Sweep("sweep.deliveries", 4.0, _guarded(sweep_deliveries)),
    Sweep("sweep.links", 15.0, _guarded(sweep_links)),
    Sweep("sweep.files", 5.0, _guarded(sweep_files)),
    Sweep("sweep.old_files", 3_600.0, _guarded(forget_old_files)),
    Sweep("sweep.events", 300.0, _guarded(sweep_events)),
    Sweep("sweep.webhooks", 15.0, _guarded(sweep_webhooks)),
    Sweep("sweep.playbooks", 5.0, _guarded(sweep_playbooks)),
    Sweep("sweep.departures", 60.0, _guarded(sweep_departures)),
    Sweep("sweep.records", 30.0, _guarded(sweep_records)),
]
