"""The sandbox plane: taking a sandbox for a task or a person, and every change of a sandbox's state."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from django.db import IntegrityError, transaction
from django.db.models import Q

from services.domain.errors import Conflict, Missing, NoRoom
from services.domain.outbox.jobs import Job, StopSandbox, enqueue, host_queue
from services.domain.plane.demand import note_demand
from services.domain.plane.models import HOLDS_SLOT, Host, Sandbox, SandboxState, Volume
from services.domain.plane.volumes import find_volume, note_volume, touch_volumes_of
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import mirror_sandbox_state
from services.kit.clock import now
from services.kit.ids import uuid7
from services.kit.rows import first_of

LINK_LEASE = timedelta(seconds=30)
HOLD = timedelta(seconds=60)
_ENDED = (SandboxState.DESTROYED, SandboxState.FAILED)
_AT_REST = (SandboxState.IDLE, SandboxState.PAUSED)

# On the way of every start: written out, as the ORM takes longer to make them than the server to run them.
_LOCK_HOST = "SELECT * FROM host WHERE name = %s AND NOT is_draining AND fenced_at IS NULL FOR UPDATE"
_OWN = "SELECT * FROM sandbox WHERE workspace_id = %s AND state = ANY(%s) ORDER BY id LIMIT 1"
_NOTE_LINKED = "UPDATE sandbox SET link_until = %s WHERE id = %s RETURNING *"
_CLAIM_WARM = """
UPDATE sandbox SET org_id = %(org)s, workspace_id = %(workspace)s, task_id = %(task)s, state = %(state)s,
    state_at = %(now)s, used_at = %(now)s, claimed_at = %(now)s, error = '',
    idle_pause_s = %(idle_pause_s)s, idle_stop_s = %(idle_stop_s)s
WHERE id = (
    SELECT id FROM sandbox WHERE host_id = %(host)s AND state = 'warm' AND workspace_id IS NULL
        AND profile = %(profile)s AND link_until > %(now)s ORDER BY state_at LIMIT 1
) AND state = 'warm' RETURNING *
"""

Path = Literal["live", "unpaused", "claimed", "started", "created"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a task needs of a sandbox, or with `task_id` None a person who wakes a workspace.

    `is_persistent`: its files outlive the sandbox. `idle_*` and `archive_after_s` are bounded by the organisation's.
    """

    org_id: uuid.UUID
    workspace_id: uuid.UUID
    task_id: uuid.UUID | None
    image: str
    is_persistent: bool = True
    runtime: str = ""
    memory_bytes: int = 1024**3
    cpus: float = 1.0
    disk_bytes: int = 2 * 1024**3
    pids: int = 256
    idle_pause_s: int = 120
    idle_stop_s: int = 600
    archive_after_s: int | None = None

    @property
    def build(self) -> dict[str, Any]:
        """Return what is settled when the container is made: image, runtime and limits."""
        return {
            "image": self.image,
            "runtime": self.runtime,
            "memory_bytes": self.memory_bytes,
            "cpus": self.cpus,
            "disk_bytes": self.disk_bytes,
            "pids": self.pids,
        }

    @property
    def profile(self) -> str:
        """Return what names this build: a warm sandbox of the same profile serves."""
        return profile_of(self.build)


@dataclass(frozen=True, slots=True)
class Taken:
    """A sandbox that was taken, and by which path. `evicted`: destroy this one first."""

    sandbox: Sandbox
    path: Path
    evicted: Sandbox | None = None

    @property
    def is_live(self) -> bool:
        """Say whether its container is there already."""
        return self.path in ("live", "unpaused", "claimed")

    @property
    def is_for_pool(self) -> bool:
        """Say whether a warm sandbox was claimed, or would have been had one waited."""
        return self.path in ("claimed", "created")

    @property
    def is_ready(self) -> bool:
        """Say whether nothing is to be done by the engine before it works."""
        return self.path in ("live", "claimed") and self.evicted is None


def profile_of(build: dict[str, Any]) -> str:
    """Return the name of a build."""
    return hashlib.sha256(json.dumps(build, sort_keys=True).encode()).hexdigest()


def take_sandbox(host_name: str, wanted: Wanted) -> Taken | None:
    """Take the cheapest sandbox that serves: the workspace's own one, a warm one, a new one with its volume or a fresh.

    With all slots in use, a warm one makes room, then the longest paused, then the longest idle. A warm one comes with
    an empty volume, so it serves who has no files yet. None when the workspace's own sandbox is not free.
    Locks: the host's row, so that two takers cannot count the same slot or claim the same sandbox.
    Raises: NoRoom; LeaseLost when the workspace's files are moved meanwhile.
    """
    with transaction.atomic(using="plane"):
        host = first_of(Host.objects.raw(_LOCK_HOST, [host_name]))
        if host is None:
            raise NoRoom("This host takes no sandboxes.")
        own = first_of(Sandbox.objects.raw(_OWN, [wanted.workspace_id, [str(state) for state in HOLDS_SLOT]]))
        evicted = None
        if own is not None:
            if own.host_id != host.name:
                return None
            if own.state not in _AT_REST or own.profile == wanted.profile:
                return _take_own(own, wanted)
            # The agent moved to another image or other limits: its old sandbox makes room for the new one.
            evicted = _evict(own, "its agent changed")
        volume = find_volume(wanted.workspace_id)
        if volume is None or (volume.host_id is None and not volume.snapshot_key):
            claimed = _claim_warm(host, wanted)
            if claimed is not None:
                return Taken(claimed, "claimed", evicted)
            volume = None
        if evicted is None:
            evicted = _make_room(host)
        created = _create(host, wanted, volume)
        return Taken(created, "created" if volume is None else "started", evicted) if created else None


def note_wanted(taken: Taken, wanted: Wanted) -> None:
    """Count a sandbox that the warm pool served or could have served, for the pool's size."""
    if taken.is_for_pool:
        note_demand(taken.sandbox.host_id, wanted.profile, wanted.build)


def release_sandbox(taken: Taken) -> None:
    """Undo a take whose task went to somebody else.

    What was there is at rest again, as it was; a claimed one stays its workspace's; a new row never became a container.
    """
    sandbox = taken.sandbox
    if not taken.is_live:
        change_state(sandbox.id, SandboxState.DESTROYED, task_id=sandbox.task_id)
        return
    rest = SandboxState.PAUSED if taken.path == "unpaused" else SandboxState.IDLE
    change_state(
        sandbox.id, rest, expected=(SandboxState.CREATING, SandboxState.BUSY), task_id=sandbox.task_id
    )


def is_volume_kept(sandbox: Sandbox) -> bool:
    """Say whether a sandbox's volume outlives it: it holds the files of a persistent workspace."""
    if sandbox.workspace_id is None:
        return False
    return Volume.objects.filter(workspace_id=sandbox.workspace_id, name=sandbox.volume).exists()


def change_state(
    sandbox_id: uuid.UUID,
    state: SandboxState,
    *,
    expected: Sequence[SandboxState] | None = None,
    task_id: uuid.UUID | None = None,
    error: str = "",
) -> Sandbox | None:
    """Move a sandbox to a state, if it is in one of the expected ones and (when given) still at that task.

    Returns the sandbox, or None when it was not so. Readers of the workspace are told after the commit.
    """
    with transaction.atomic(using="plane"):
        sandbox = Sandbox.objects.select_for_update().filter(id=sandbox_id).first()
        if sandbox is None or sandbox.state in _ENDED:
            return None
        if expected is not None and sandbox.state not in expected:
            return None
        if task_id is not None and sandbox.task_id != task_id:
            return None
        _set_state(sandbox, state, error=error)
    show_state(sandbox, reason=error)
    return sandbox


def note_linked(sandbox_id: uuid.UUID) -> Sandbox | None:
    """Note that the runner of a new sandbox is there: one without a task waits from now on, idle or warm.

    Returns the sandbox when that is so.
    """
    with transaction.atomic(using="plane"):
        sandbox = first_of(Sandbox.objects.raw(_NOTE_LINKED, [now() + LINK_LEASE, sandbox_id]))
        if sandbox is None:
            return None
        if sandbox.state != SandboxState.CREATING or sandbox.task_id is not None:
            return None
        _set_state(sandbox, SandboxState.IDLE if sandbox.workspace_id else SandboxState.WARM)
    show_state(sandbox)
    return sandbox


def name_volume(sandbox: Sandbox) -> None:
    """Note under which name a new sandbox's files lie, once they were brought here."""
    Sandbox.objects.filter(id=sandbox.id).update(volume=sandbox.volume)


def show_state(sandbox: Sandbox, *, reason: str = "") -> None:
    """Show readers of the workspace a sandbox's state; a warm one has no readers yet."""
    if sandbox.org_id is not None and sandbox.workspace_id is not None:
        mirror_sandbox_state(sandbox.org_id, sandbox.workspace_id, sandbox.state, reason=reason)


def renew_links(sandbox_ids: Sequence[uuid.UUID]) -> None:
    """Prolong the lease of sandboxes whose runner's link is open."""
    if sandbox_ids:
        Sandbox.objects.filter(id__in=sandbox_ids).update(link_until=now() + LINK_LEASE)


def hold_sandboxes(sandbox_ids: Sequence[uuid.UUID]) -> None:
    """Keep sandboxes that a person or a command uses from being taken for idle, for a minute more."""
    if sandbox_ids:
        Sandbox.objects.filter(id__in=sandbox_ids).update(held_until=now() + HOLD)
        touch_volumes_of(sandbox_ids)


def all_tenants_order_stop(sandbox_id: uuid.UUID) -> None:
    """Have the sandbox's own host destroy it. Queues: StopSandbox. Raises: Missing, Conflict when it is gone."""
    sandbox = Sandbox.objects.filter(id=sandbox_id).first()
    if sandbox is None:
        raise Missing("There is no such sandbox.")
    if sandbox.state in _ENDED:
        raise Conflict("The sandbox is gone already.")
    enqueue_on_host(sandbox, StopSandbox(sandbox_id=sandbox.id))


def enqueue_on_host(sandbox: Sandbox, job: Job) -> None:
    """Write a job for the host that has a sandbox, in the name of its organisation when it has one."""
    queue = host_queue(sandbox.host_id)
    if sandbox.org_id is None:
        with transaction.atomic(using="operator"):
            enqueue(job, queue=queue, using="operator")
        return
    with tenant_transaction(sandbox.org_id):
        enqueue(job, queue=queue)


def _take_own(own: Sandbox, wanted: Wanted) -> Taken | None:
    if own.state == SandboxState.CREATING and own.task_id is None:
        # Somebody woke it and its runner is not there yet: it gets the task as soon as it is.
        own.task_id = wanted.task_id
        own.save(update_fields=["task_id"])
        return Taken(own, "live")
    if own.state not in _AT_REST:
        return None
    path: Path = "live" if own.state == SandboxState.IDLE else "unpaused"
    _hand_over(own, wanted)
    return Taken(own, path)


def _claim_warm(host: Host, wanted: Wanted) -> Sandbox | None:
    """Give the workspace a warm sandbox of this host whose runner is there; it is never given back to the pool."""
    values = {
        "host": host.name,
        "profile": wanted.profile,
        "org": wanted.org_id,
        "workspace": wanted.workspace_id,
        "task": wanted.task_id,
        "state": str(SandboxState.BUSY if wanted.task_id else SandboxState.IDLE),
        "idle_pause_s": wanted.idle_pause_s,
        "idle_stop_s": wanted.idle_stop_s,
        "now": now(),
    }
    warm = first_of(Sandbox.objects.raw(_CLAIM_WARM, values))
    if warm is not None:
        _note_volume(warm, wanted)
    return warm


def _hand_over(sandbox: Sandbox, wanted: Wanted) -> None:
    sandbox.task_id = wanted.task_id
    sandbox.idle_pause_s, sandbox.idle_stop_s = wanted.idle_pause_s, wanted.idle_stop_s
    state = SandboxState.BUSY if wanted.task_id else SandboxState.IDLE
    _set_state(sandbox, state, also=("idle_pause_s", "idle_stop_s"))


def _make_room(host: Host) -> Sandbox | None:
    """Evict what is needed least when every slot is in use; None when one is free. Raises: NoRoom."""
    held = Sandbox.objects.filter(host=host, state__in=HOLDS_SLOT)
    if held.count() < host.slots:
        return None
    free = held.exclude(held_until__gt=now()).order_by("state_at")
    unclaimed = Q(workspace_id=None, state__in=(SandboxState.WARM, SandboxState.CREATING))
    for which in (unclaimed, Q(state=SandboxState.PAUSED), Q(state=SandboxState.IDLE)):
        found = free.filter(which).first()
        if found is not None:
            return _evict(found, "evicted")
    raise NoRoom("This host is full.")


def _evict(sandbox: Sandbox, reason: str) -> Sandbox:
    _set_state(
        sandbox,
        SandboxState.STOPPED if is_volume_kept(sandbox) else SandboxState.DESTROYED,
        error=reason,
    )
    return sandbox


def _create(host: Host, wanted: Wanted, volume: Volume | None) -> Sandbox | None:
    """Make the row of a new sandbox; a volume that lies elsewhere gets its name here once it is brought."""
    sandbox = Sandbox(
        id=uuid7(),
        host=host,
        host_epoch=host.epoch,
        org_id=wanted.org_id,
        workspace_id=wanted.workspace_id,
        task_id=wanted.task_id,
        profile=wanted.profile,
        idle_pause_s=wanted.idle_pause_s,
        idle_stop_s=wanted.idle_stop_s,
        claimed_at=now(),
        **wanted.build,
    )
    is_here = volume is None or volume.host_id == host.name
    sandbox.volume = (volume.name if volume else sandbox.id.hex) if is_here else ""
    try:
        with transaction.atomic(using="plane"):
            # What is left of earlier ones is their volume, and that is this one's now.
            Sandbox.objects.filter(workspace_id=wanted.workspace_id, state=SandboxState.STOPPED).update(
                state=SandboxState.DESTROYED
            )
            sandbox.save(force_insert=True)
            if is_here:
                _note_volume(sandbox, wanted)
    except IntegrityError:
        return None
    return sandbox


def _note_volume(sandbox: Sandbox, wanted: Wanted) -> None:
    if wanted.is_persistent:
        note_volume(
            wanted.workspace_id,
            wanted.org_id,
            sandbox.host_id,
            sandbox.volume,
            wanted.disk_bytes,
            wanted.archive_after_s,
        )


def _set_state(sandbox: Sandbox, state: SandboxState, *, error: str = "", also: Sequence[str] = ()) -> None:
    sandbox.state = state
    sandbox.state_at = now()
    sandbox.error = error[:300]
    if state in (SandboxState.IDLE, SandboxState.STOPPED, *_ENDED):
        sandbox.task_id = None
    if state == SandboxState.IDLE:
        sandbox.used_at = sandbox.state_at
    sandbox.save(update_fields=["state", "state_at", "error", "task_id", "used_at", *also])
