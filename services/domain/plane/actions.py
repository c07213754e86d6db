"""The sandbox plane: hosts and slots, taking a sandbox for a task, and every change of a sandbox's state."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db import IntegrityError, transaction

from services.domain.errors import Conflict, Missing, NoRoom
from services.domain.outbox.jobs import StopSandbox, enqueue, host_queue
from services.domain.plane.models import HOLDS_SLOT, Host, Sandbox, SandboxState
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import mirror_sandbox_state
from services.kit.clock import now

LINK_LEASE = timedelta(seconds=30)
_ENDED = (SandboxState.DESTROYED, SandboxState.FAILED)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a task needs of a sandbox."""

    org_id: uuid.UUID
    workspace_id: uuid.UUID
    task_id: uuid.UUID
    image: str
    volume: str
    idle_stop_s: int
    memory_bytes: int
    cpus: float


@dataclass(frozen=True, slots=True)
class Taken:
    """A sandbox taken for a task. `is_live`: its runner is there already. `evicted`: destroy this one first."""

    sandbox: Sandbox
    is_live: bool
    evicted: Sandbox | None = None


def register_host(
    name: str, *, driver: str, slots: int, engine_version: str = "", missing_promises: Sequence[str] = ()
) -> Host:
    """Make this host known, or update what it says of itself; also its heartbeat."""
    host, _ = Host.objects.update_or_create(
        name=name,
        defaults={
            "driver": driver,
            "slots": slots,
            "engine_version": engine_version[:60],
            "missing_promises": list(missing_promises),
            "last_beat_at": now(),
        },
    )
    return host


def take_sandbox(host_name: str, wanted: Wanted) -> Taken | None:
    """Take a sandbox for a task: the workspace's live one, a free slot, or the slot of the longest idle one.

    None when the workspace's own sandbox is not free yet. Raises: NoRoom.
    Locks: the host's row, so that two takers cannot count the same free slot.
    """
    with transaction.atomic(using="plane"):
        host = Host.objects.select_for_update().filter(name=host_name, is_draining=False).first()
        if host is None:
            raise NoRoom("This host takes no sandboxes.")
        live = Sandbox.objects.filter(workspace_id=wanted.workspace_id, state__in=HOLDS_SLOT).first()
        evicted = None
        if live is not None and live.state == SandboxState.IDLE and live.image != wanted.image:
            # The agent moved to another image: its old sandbox makes room for the new one.
            _set_state(live, SandboxState.STOPPED, error="image changed")
            evicted = live
        elif live is not None:
            return _take_live(live, wanted)
        elif Sandbox.objects.filter(host=host, state__in=HOLDS_SLOT).count() >= host.slots:
            evicted = Sandbox.objects.filter(host=host, state=SandboxState.IDLE).order_by("state_at").first()
            if evicted is None:
                raise NoRoom("This host is full.")
            _set_state(evicted, SandboxState.STOPPED, error="evicted")
        try:
            with transaction.atomic(using="plane"):
                sandbox = Sandbox.objects.create(
                    host=host,
                    org_id=wanted.org_id,
                    workspace_id=wanted.workspace_id,
                    task_id=wanted.task_id,
                    image=wanted.image,
                    volume=wanted.volume,
                    idle_stop_s=wanted.idle_stop_s,
                )
        except IntegrityError:
            return None
        return Taken(sandbox, is_live=False, evicted=evicted)


def _take_live(live: Sandbox, wanted: Wanted) -> Taken | None:
    if live.state != SandboxState.IDLE:
        return None
    live.task_id = wanted.task_id
    _set_state(live, SandboxState.BUSY)
    return Taken(live, is_live=True)


def release_sandbox(sandbox: Sandbox, *, was_live: bool) -> None:
    """Undo a take whose task went to somebody else: a live one is idle again, a new row never became a container."""
    target = SandboxState.IDLE if was_live else SandboxState.DESTROYED
    change_state(
        sandbox.id, target, expected=(SandboxState.CREATING, SandboxState.BUSY), task_id=sandbox.task_id
    )


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
    mirror_sandbox_state(sandbox.org_id, sandbox.workspace_id, state, reason=error)
    return sandbox


def renew_links(sandbox_ids: Sequence[uuid.UUID]) -> None:
    """Prolong the lease of sandboxes whose runner's link is open."""
    if sandbox_ids:
        Sandbox.objects.filter(id__in=sandbox_ids).update(link_until=now() + LINK_LEASE)


def _set_state(sandbox: Sandbox, state: SandboxState, *, error: str = "") -> None:
    sandbox.state = state
    sandbox.state_at = now()
    sandbox.error = error[:300]
    if state in (SandboxState.IDLE, SandboxState.STOPPED, *_ENDED):
        sandbox.task_id = None
    sandbox.save(update_fields=["state", "state_at", "error", "task_id"])


def all_tenants_order_stop(sandbox_id: uuid.UUID) -> None:
    """Have the sandbox's own host destroy it. Queues: StopSandbox. Raises: Missing, Conflict when it is gone."""
    sandbox = Sandbox.objects.filter(id=sandbox_id).first()
    if sandbox is None:
        raise Missing("There is no such sandbox.")
    if sandbox.state in _ENDED:
        raise Conflict("The sandbox is gone already.")
    with tenant_transaction(sandbox.org_id):
        enqueue(StopSandbox(sandbox_id=sandbox.id), queue=host_queue(sandbox.host_id))
