"""What becomes of a host's volumes: snapshots, archiving, draining, and removing what is nobody's any more."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable

from services.domain.errors import FilesInUse, SlipwayError, StillInUse, VolumeMissing
from services.domain.outbox.jobs import ArchiveVolume, DrainHost, SnapshotVolume, enqueue, host_queue
from services.domain.plane.hosts import dispatch_soon, get_host
from services.domain.plane.models import HOLDS_SLOT, SandboxState, Volume
from services.domain.plane.queries import find_sandbox, find_sandbox_of, list_served
from services.domain.plane.volumes import (
    adopt_volumes,
    find_volume,
    forget_volume,
    give_up_volume,
    is_stored,
    list_held_names,
    list_to_archive,
    list_to_snapshot,
    list_volumes_on,
    release_volume,
    was_used,
)
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import mirror_sandbox_state
from services.domain.workspaces.queries import all_tenants_existing, all_tenants_unclaimed
from services.kit.clock import now
from services.kit.environment import environment
from services.worker.jobs import sandboxes
from services.worker.jobs.volumes import delete_snapshots, storage, store_snapshot

log = logging.getLogger(__name__)

# A volume younger than this may be one that is being restored: its row says so only when its files are all there.
STRAY_AGE_S = 60.0
PAGE = 200

_sweeping = threading.Lock()
_cursors: dict[str, uuid.UUID | None] = {}


# --- Jobs --------------------------------------------------------------------------------------------


def snapshot_volume(job: SnapshotVolume) -> None:
    """Copy a workspace's files to object storage, unless the last copy holds all of them."""
    volume = find_volume(job.workspace_id)
    if volume is None or volume.host_id is None or _forwarded(volume, job):
        return
    if not is_stored(volume):
        store_snapshot(volume, sandboxes.driver(), storage())


def archive_volume(job: ArchiveVolume) -> None:
    """Leave a workspace's files to object storage, unless they were used after the moment that the job names.

    Raises: FilesInUse, and what copying raises; the volume is here still then.
    """
    volume = find_volume(job.workspace_id)
    if volume is None or volume.host_id is None or _forwarded(volume, job):
        return
    if job.unless_used_since is None or volume.changed_at <= job.unless_used_since:
        _archive(volume, reason="archived")


def drain_host(job: DrainHost) -> None:
    """Do one round of draining this host; the sweep does the rounds that follow."""
    if job.host == environment().host_name:
        sweep_volumes()


# --- The sweep ---------------------------------------------------------------------------------------


def sweep_volumes() -> None:
    """Look after this host's volumes, one after the other; a round that is still at work is not disturbed."""
    if not _sweeping.acquire(blocking=False):
        return
    try:
        here = environment().host_name
        host = get_host(here)
        if host.fenced_at is not None or not sandboxes.driver().check().is_up:
            return
        adopt_volumes(here, sandboxes.driver().list_volumes())
        if host.is_draining:
            _drain(here)
        after_s = environment().snapshot_after_s
        _each(list_to_snapshot(here, after_s=after_s), _snapshot)
        _each(list_to_archive(here), lambda volume: _archive(volume, reason="archived"))
        _remove_unwanted(here)
        _remove_strays()
    finally:
        _sweeping.release()


def _snapshot(volume: Volume) -> None:
    try:
        store_snapshot(volume, sandboxes.driver(), storage())
    except VolumeMissing:
        # Every start of its sandbox failed before there were files. One that was used is an operator's matter: its
        # disk may only be away.
        if find_sandbox_of(volume.workspace_id) is not None or was_used(volume):
            raise
        give_up_volume(volume)


def _archive(volume: Volume, *, reason: str) -> None:
    """Stop the workspace's sandbox if it is at rest, store its files if they are not, then remove them here."""
    _vacate(volume, reason)
    if not is_stored(volume):
        try:
            volume = store_snapshot(volume, sandboxes.driver(), storage())
        except VolumeMissing:
            # The engine lost it: what is stored, if anything is, is all that there is of these files.
            log.exception("volume %s of workspace %s is not on its host", volume.name, volume.workspace_id)
            give_up_volume(volume)
            return
    release_volume(volume)
    _remove(volume.name)
    mirror_sandbox_state(volume.org_id, volume.workspace_id, "archived", reason=reason)


def _vacate(volume: Volume, reason: str) -> None:
    """See to it that no container has the volume. Raises: FilesInUse."""
    sandbox = find_sandbox_of(volume.workspace_id)
    if sandbox is not None:
        if sandbox.task_id is not None or (sandbox.held_until is not None and sandbox.held_until > now()):
            raise FilesInUse("The workspace is in use.", retry_after_s=10.0)
        sandboxes.stop_if_at_rest(sandbox, reason=reason)
        if find_sandbox_of(volume.workspace_id) is not None:
            raise FilesInUse("The workspace is in use.", retry_after_s=10.0)
    # A crash between a row's end and its container's leaves one that could write still.
    for report in sandboxes.driver().list_sandboxes():
        row = find_sandbox(report.sandbox_id)
        if row is not None and row.volume == volume.name and row.state not in HOLDS_SLOT:
            sandboxes.remove_container(report.sandbox_id)


def _drain(here: str) -> None:
    """Stop what is at rest on this host and leave its files to object storage; what is at work ends by itself."""
    waiting = (SandboxState.WARM, SandboxState.IDLE, SandboxState.PAUSED)
    held = [row for row in list_served(here) if row.state in waiting and row.task_id is None]
    for sandbox in held:
        if sandbox.workspace_id is None:
            sandboxes.destroy(sandbox)
        elif sandbox.held_until is None or sandbox.held_until <= now():
            sandboxes.stop_if_at_rest(sandbox, reason="draining")
    busy = {row.workspace_id for row in list_served(here)}
    volumes = [row for row in list_volumes_on(here, limit=PAGE) if row.workspace_id not in busy]
    _each(volumes, lambda volume: _archive(volume, reason="draining"))
    if held or volumes:
        dispatch_soon()


def _remove_unwanted(here: str) -> None:
    """Remove the files, and their copies, of workspaces that were deleted or that nobody claimed in time.

    A page of rows in each round.
    """
    for place in (here, None):
        volumes = list_volumes_on(place, after=_cursors.get(place or ""), limit=PAGE)
        _cursors[place or ""] = volumes[-1].workspace_id if len(volumes) == PAGE else None
        named = [volume.workspace_id for volume in volumes]
        kept = all_tenants_existing(named) - all_tenants_unclaimed(named)
        _each([volume for volume in volumes if volume.workspace_id not in kept], _remove_for_good)


def _remove_for_good(volume: Volume) -> None:
    sandbox = find_sandbox_of(volume.workspace_id)
    if sandbox is not None:
        sandboxes.destroy(sandbox, error="its workspace was deleted")
    if volume.host_id is not None:
        _remove(volume.name)
    delete_snapshots(volume, storage())
    forget_volume(volume.workspace_id)


def _remove_strays() -> None:
    """Remove volumes that no row names: of fenced times, of crashes, of sandboxes that were nobody's."""
    found = sandboxes.driver().list_volumes()
    # Read after the engine was asked: a volume that is restored meanwhile has its row before it is looked for.
    for name in found - list_held_names(found):
        if _age_s(name) > STRAY_AGE_S:
            log.warning("removing a volume that nobody holds: %s", name)
            _remove(name)


def _age_s(name: str) -> float:
    """Return how old a volume is by its name, which begins with milliseconds; any other name is as old as can be."""
    try:
        made = uuid.UUID(hex=name)
    except ValueError:
        return float("inf")
    return time.time() - (made.int >> 80) / 1000 if made.version == 7 else float("inf")


def _remove(name: str) -> None:
    """Remove a volume, or leave it to a later round while an engine has not let go of it."""
    try:
        sandboxes.driver().remove_volume(name)
    except StillInUse as error:
        log.info("volume %s stays for now: %s", name, error)


def _each(volumes: Iterable[Volume], work: Callable[[Volume], None]) -> None:
    """Do something for each volume: what fails for one is its own, and is tried again in the next round."""
    for volume in volumes:
        try:
            work(volume)
        except SlipwayError as error:
            log.warning("volume %s of workspace %s: %s", volume.name, volume.workspace_id, error)


def _forwarded(volume: Volume, job: SnapshotVolume | ArchiveVolume) -> bool:
    """Pass a job on to the host that has the volume, if it is not this one."""
    if volume.host_id is None or volume.host_id == environment().host_name:
        return False
    with tenant_transaction(volume.org_id):
        enqueue(job, queue=host_queue(volume.host_id))
    return True
