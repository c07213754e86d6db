"""Fencing a silent host: its sandboxes end, their tasks go on elsewhere or fail, its files are the snapshots."""

from __future__ import annotations

import logging

from services.domain.plane.actions import change_state
from services.domain.plane.hosts import (
    dispatch_soon,
    list_fenced_hosts,
    list_stale_hosts,
    mark_fenced,
    mark_fenced_if_stale,
)
from services.domain.plane.models import HOLDS_SLOT, Sandbox, SandboxState, Volume
from services.domain.tasks.lost import HOST_LOST, settle_lost_task
from services.kit.clock import now

log = logging.getLogger(__name__)


def fence_host(name: str) -> None:
    """Take everything from a host, whether it is silent or not; twice is fine. Raises: Missing.

    A worker that still beats there ends what it has and joins again.
    """
    mark_fenced(name)
    log.error("host %s is fenced", name)
    end_what_it_had(name)


def fence_stale_hosts(*, asking: str) -> int:
    """Fence the hosts that fell silent, and finish fencings that were cut short; returns how many were new.

    `asking` is the host that looks: it is never stale to itself.
    """
    fenced = 0
    for host in list_stale_hosts():
        if host.name != asking and mark_fenced_if_stale(host.name):
            log.error("host %s has not beaten since %s and is fenced", host.name, host.last_beat_at)
            fenced += 1
    for host in list_fenced_hosts():
        end_what_it_had(host.name)
    return fenced


def end_what_it_had(name: str) -> None:
    """End the sandboxes of a fenced host, as far as that was not done, and leave its volumes to their snapshots.

    First the task, which may then start elsewhere, then the row that held it.
    Emits: SandboxChanged for each. Queues: DispatchTask.
    """
    sandboxes = list(Sandbox.objects.filter(host_id=name, state__in=HOLDS_SLOT))
    for sandbox in sandboxes:
        if sandbox.task_id is not None and sandbox.org_id is not None:
            settle_lost_task(sandbox.org_id, sandbox.task_id, sandbox.id)
        change_state(sandbox.id, SandboxState.FAILED, error=": ".join(HOST_LOST))
    stopped = Sandbox.objects.filter(host_id=name, state=SandboxState.STOPPED)
    stopped.update(state=SandboxState.DESTROYED, state_at=now())
    released = Volume.objects.filter(host_id=name).update(host=None, lost_host=name)
    if sandboxes or released:
        dispatch_soon()
