"""Looking after this host's sandboxes: what ended, what hangs, what the rows say and the engine does not do."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connections

from services.domain.errors import EngineAway, SlipwayError
from services.domain.plane.models import HOLDS_SLOT, Sandbox, SandboxState
from services.domain.plane.paths import list_socket_dirs
from services.domain.plane.queries import (
    find_sandbox,
    list_at_tasks,
    list_holding_slot,
    list_served,
    list_to_pause,
    list_to_stop,
    list_unsure,
)
from services.domain.ports.sandbox import SandboxReport, SandboxStatus
from services.domain.tasks.dispatch import all_tenants_astray, fail_task
from services.domain.tasks.lost import settle_lost_task
from services.domain.workspaces.queries import all_tenants_existing
from services.kit.clock import now
from services.kit.environment import environment
from services.worker.jobs.sandboxes import (
    IN_HAND,
    destroy,
    driver,
    pause,
    remove_container,
    remove_evicted,
    set_running,
    stop_if_at_rest,
)

log = logging.getLogger(__name__)

LINK_GRACE = timedelta(seconds=15)
SILENT_LIMIT = timedelta(seconds=120)
ORPHAN_GRACE = timedelta(seconds=60)
SETTLE_GRACE = timedelta(seconds=60)
WATCH_AGAIN_S = 1.0
LAST_WORDS_BYTES = 2_000
_ENDED = (SandboxStatus.STOPPED, SandboxStatus.GONE)


def check_sandboxes() -> None:
    """Compare this host's rows with its engine and put right what differs. Raises: EngineAway."""
    host = environment().host_name
    rows = list_served(host)
    reports = {report.sandbox_id: report for report in driver().list_sandboxes()}
    for sandbox in rows:
        report = reports.get(sandbox.id, SandboxReport(sandbox.id, SandboxStatus.GONE))
        _compare(sandbox, report)
    for sandbox in list_unsure(host, older_than=LINK_GRACE):
        examine(sandbox.id)
    _remove_astray(host)
    _remove_unknown(reports)
    _remove_stray_sockets(reports)
    _remove_of_deleted_workspaces(rows)


def rest_sandboxes() -> None:
    """Stop what was idle for as long as its agent says, and pause what was so for a while."""
    host = environment().host_name
    for sandbox in list_to_stop(host):
        _trying(lambda row: stop_if_at_rest(row, reason="idle"), sandbox)
    for sandbox in list_to_pause(host):
        _trying(pause, sandbox)


def examine(sandbox_id: UUID) -> None:
    """Ask the engine about a sandbox that may have ended. One that runs gets time to reconnect."""
    sandbox = find_sandbox(sandbox_id)
    if sandbox is None or sandbox.host_id != environment().host_name or sandbox.state not in HOLDS_SLOT:
        return
    if sandbox.id in IN_HAND:
        return
    report = driver().inspect(sandbox.id)
    never_ran = report.status in _ENDED and report.exit_code is None and not report.is_out_of_memory
    is_awaited = sandbox.state == SandboxState.CREATING and never_ran
    if report.status in _ENDED:
        if is_awaited and sandbox.state_at + LINK_GRACE > now():
            return
    elif sandbox.state == SandboxState.PAUSED or _silent_since(sandbox) + SILENT_LIMIT > now():
        return
    code, message = _reason_of_end(report)
    words = "" if report.status == SandboxStatus.GONE else _last_words(sandbox)
    if sandbox.task_id is not None and sandbox.org_id is not None:
        if is_awaited:
            # Its worker died before the container ran: nothing was done that would be done twice.
            settle_lost_task(sandbox.org_id, sandbox.task_id, sandbox.id, reason=(code, message))
        else:
            fail_task(sandbox.org_id, sandbox.task_id, sandbox.id, reason=(code, f"{message}{words}"))
    destroy(sandbox, error=f"{code}: {message}")


def watch_engine(stop: threading.Event) -> None:
    """Examine each sandbox that ends by itself, at once, until told to stop. What this misses, the sweep finds."""
    while not stop.is_set():
        try:
            for sandbox_id in driver().watch_ends(stop):
                _examine_safely(sandbox_id)
        except EngineAway as error:
            log.warning("the engine's events are not heard: %s", error)
        except Exception:
            log.exception("watching the engine failed and begins anew")
        stop.wait(WATCH_AGAIN_S)


def _examine_safely(sandbox_id: UUID) -> None:
    try:
        examine(sandbox_id)
    except Exception:
        log.exception("sandbox %s was not examined; the sweep will", sandbox_id)
    finally:
        connections.close_all()


def _compare(sandbox: Sandbox, report: SandboxReport) -> None:
    if report.status in _ENDED:
        if sandbox.state != SandboxState.CREATING:
            examine(sandbox.id)
    elif (report.status == SandboxStatus.PAUSED) != (sandbox.state == SandboxState.PAUSED):
        # A worker died between the row's change and the engine's.
        _trying(set_running, sandbox)


def _silent_since(sandbox: Sandbox) -> datetime:
    return sandbox.link_until or sandbox.state_at


def _reason_of_end(report: SandboxReport) -> tuple[str, str]:
    if report.status not in _ENDED:
        return ("sandbox_silent", "The sandbox ran on without a word from its runner.")
    if report.is_out_of_memory:
        return ("sandbox_out_of_memory", "The sandbox used more memory than it may.")
    if report.exit_code == 137:
        return ("sandbox_killed", "The sandbox was killed.")
    return ("sandbox_lost", "The sandbox ended before its task did.")


def _last_words(sandbox: Sandbox) -> str:
    """Return the end of what the sandbox wrote to its log: it is its tenant's own, and is shown to nobody else."""
    try:
        log_text = driver().read_log(sandbox.id, max_bytes=LAST_WORDS_BYTES)
    except SlipwayError:
        return ""
    words = "".join(char for char in log_text if char == "\n" or char.isprintable()).strip()
    return f"\n{words[-LAST_WORDS_BYTES:]}" if words else ""


def _remove_astray(host: str) -> None:
    """Destroy sandboxes whose task is not theirs: a dispatcher died between taking them and claiming it."""
    rows = {row.id: row for row in list_at_tasks(host, older_than=LINK_GRACE)}
    taken = {row.task_id: row.id for row in rows.values() if row.task_id is not None}
    for sandbox_id in all_tenants_astray(taken, grace=SETTLE_GRACE) if taken else ():
        log.warning("sandbox %s has a task that is not its own", sandbox_id)
        destroy(rows[sandbox_id], error="its task went elsewhere")


def _remove_unknown(reports: dict[UUID, SandboxReport]) -> None:
    """Destroy containers with our label that no row holds, after a grace in which a row may still appear."""
    here = environment().host_name
    known = {sandbox.id for sandbox in list_served(here)}
    for sandbox_id in reports.keys() - known:
        row = find_sandbox(sandbox_id)
        if row is not None and row.host_id != here and row.state in HOLDS_SLOT:
            # Another host's, on an engine that both use.
            continue
        if row is None or row.state_at + ORPHAN_GRACE < now():
            log.warning("removing a sandbox that nobody holds: %s", sandbox_id)
            remove_evicted(row) if row is not None else remove_container(sandbox_id)


def _remove_stray_sockets(reports: Mapping[UUID, SandboxReport]) -> None:
    """Remove the socket folders of sandboxes that are neither in a row nor in the engine: of starts that failed."""
    edge = now() - ORPHAN_GRACE
    old = list_socket_dirs(environment().run_dir, made_before=edge)
    held = list_holding_slot(old)
    for sandbox_id in old.keys() - held - reports.keys() - IN_HAND:
        shutil.rmtree(old[sandbox_id], ignore_errors=True)


def _remove_of_deleted_workspaces(rows: list[Sandbox]) -> None:
    claimed = {row.workspace_id: row for row in rows if row.workspace_id is not None}
    for workspace_id in claimed.keys() - all_tenants_existing(list(claimed)) if claimed else ():
        destroy(claimed[workspace_id], error="its workspace was deleted")


def _trying(work: Callable[[Sandbox], None], sandbox: Sandbox) -> None:
    """Do something with a sandbox; what fails is tried again in the next round, and the others do not wait for it."""
    try:
        work(sandbox)
    except EngineAway:
        raise
    except SlipwayError as error:
        log.warning("sandbox %s: %s", sandbox.id, error)
