"""Reading the engine's counters for the sandboxes of this host."""

from __future__ import annotations

import logging

from services.domain.errors import SlipwayError
from services.domain.metering.actions import Reading, count_disk_at_rest, count_usage, note_unclaimed
from services.domain.metering.queries import list_metered, list_volumes_at_rest
from services.domain.plane.models import Sandbox
from services.domain.ports.sandbox import SandboxDriver
from services.kit.clock import now
from services.kit.environment import environment

log = logging.getLogger(__name__)


def meter_sandbox(sandbox: Sandbox, driver: SandboxDriver) -> None:
    """Count what a sandbox has used so far; once more right before it ends. An engine that is away costs nothing."""
    began_at = now()
    try:
        usage = driver.read_usage(sandbox.id)
    except SlipwayError as error:
        log.warning("the usage of sandbox %s was not read: %s", sandbox.id, error)
        return
    if usage is None:
        return
    if sandbox.workspace_id is None:
        note_unclaimed(sandbox.id, usage.cpu_ms)
    else:
        count_usage(sandbox, Reading(usage, began_at, now()))


def sweep_usage(driver: SandboxDriver) -> None:
    """Count what each sandbox of this host has used since the last round."""
    for sandbox in list_metered(environment().host_name):
        meter_sandbox(sandbox, driver)


def sweep_disks() -> None:
    """Count the disk of this host's workspaces that have no sandbox now."""
    for org_id, workspace_id in list_volumes_at_rest(environment().host_name):
        count_disk_at_rest(org_id, workspace_id)
