"""Counting what sandboxes use: CPU, memory and disk over time, network. Each unit is counted once, whatever crashes.

The counters are an engine's; how far they have been counted stands in a `Meter`, which moves in the transaction that
writes the record. Time is counted in whole seconds, so that all sums are whole numbers; the rest of a second waits.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

from services.domain.metering.models import Meter, SandboxUsageRecord
from services.domain.plane.models import Sandbox
from services.domain.ports.sandbox import SandboxUsage
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.models import Workspace
from services.kit.clock import now
from services.kit.ids import uuid7

HOUR = timedelta(hours=1)
FORGOTTEN_AFTER = timedelta(days=30)

_ADD = """
INSERT INTO sandbox_usage_record (id, org_id, created_at, workspace_id, agent_id, sandbox_id, bucket,
    cpu_ms, memory_byte_seconds, disk_byte_seconds, network_up_bytes, network_down_bytes)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (org_id, workspace_id, agent_id, sandbox_id, bucket) DO UPDATE SET
    cpu_ms = sandbox_usage_record.cpu_ms + excluded.cpu_ms,
    memory_byte_seconds = sandbox_usage_record.memory_byte_seconds + excluded.memory_byte_seconds,
    disk_byte_seconds = sandbox_usage_record.disk_byte_seconds + excluded.disk_byte_seconds,
    network_up_bytes = sandbox_usage_record.network_up_bytes + excluded.network_up_bytes,
    network_down_bytes = sandbox_usage_record.network_down_bytes + excluded.network_down_bytes
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """What an engine said of a sandbox, and between which moments it was asked."""

    usage: SandboxUsage
    began_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class _Owner:
    org_id: uuid.UUID
    workspace_id: uuid.UUID
    agent_id: uuid.UUID


def count_usage(sandbox: Sandbox, reading: Reading) -> None:
    """Count what a workspace's sandbox has used since it was last counted; twice with one reading counts once.

    What a sandbox used before it was anybody's is nobody's. Locks: the sandbox's meter, then the workspace's.
    """
    if sandbox.org_id is None or sandbox.workspace_id is None:
        return
    since = sandbox.claimed_at or sandbox.created_at
    with tenant_transaction(sandbox.org_id):
        owner = _find_owner(sandbox.org_id, sandbox.workspace_id)
        if owner is None:
            return
        meter = _lock_meter(owner, sandbox.id, since, cpu_ms=sandbox.metered_cpu_ms)
        usage = reading.usage
        cpu_ms = _take_cpu(meter, reading)
        if cpu_ms:
            _add(owner, sandbox.id, reading.ended_at, cpu_ms=cpu_ms)
        for bucket, seconds in _take_time(meter, reading.ended_at):
            _add(owner, sandbox.id, bucket, memory_byte_seconds=usage.memory_bytes * seconds)
        meter.save()
        disk = _lock_meter(owner, owner.workspace_id, since)
        # While the files lay in a snapshot alone, they took no disk.
        disk.counted_at = max(disk.counted_at, _whole(since))
        for bucket, seconds in _take_time(disk, reading.ended_at):
            _add(owner, sandbox.id, bucket, disk_byte_seconds=usage.disk_bytes * seconds)
        disk.disk_bytes = usage.disk_bytes
        disk.save()


def count_disk_at_rest(org_id: uuid.UUID, workspace_id: uuid.UUID) -> None:
    """Count the disk of a workspace without a sandbox: what its files took when they were last in use."""
    with tenant_transaction(org_id):
        disk = Meter.objects.select_for_update().filter(subject_id=workspace_id).first()
        owner = _find_owner(org_id, workspace_id)
        if disk is None or owner is None:
            return
        for bucket, seconds in _take_time(disk, now()):
            _add(owner, None, bucket, disk_byte_seconds=disk.disk_bytes * seconds)
        disk.save()


def note_network(org_id: uuid.UUID, workspace_id: uuid.UUID, up: int, down: int) -> None:
    """Count bytes that a workspace sent and received; each call adds. A workspace that is gone is no error."""
    if up <= 0 and down <= 0:
        return
    with tenant_transaction(org_id):
        owner = _find_owner(org_id, workspace_id)
        if owner is not None:
            _add(owner, None, now(), network_up_bytes=max(up, 0), network_down_bytes=max(down, 0))


def note_unclaimed(sandbox_id: uuid.UUID, cpu_ms: int) -> None:
    """Remember what a warm sandbox has used while it is nobody's: from there on it is counted once it is claimed."""
    Sandbox.objects.filter(id=sandbox_id, workspace_id=None).update(metered_cpu_ms=cpu_ms, metered_at=now())


def all_tenants_forget_meters() -> None:
    """Remove the meters of what has not been there for long."""
    Meter.objects.using("operator").filter(read_at__lt=now() - FORGOTTEN_AFTER).delete()


def hour_of(moment: datetime) -> datetime:
    """Return the beginning of a moment's hour."""
    return moment.replace(minute=0, second=0, microsecond=0)


def _find_owner(org_id: uuid.UUID, workspace_id: uuid.UUID) -> _Owner | None:
    """Return whose use it is; a workspace that was deleted meanwhile is known from what was counted before."""
    agent_id = (
        Workspace.objects.filter(id=workspace_id).values_list("agent_id", flat=True).first()
        or SandboxUsageRecord.objects.filter(workspace_id=workspace_id)
        .order_by("-bucket")
        .values_list("agent_id", flat=True)
        .first()
    )
    return _Owner(org_id, workspace_id, agent_id) if agent_id else None


def _lock_meter(owner: _Owner, subject_id: uuid.UUID, since: datetime, *, cpu_ms: int = 0) -> Meter:
    meter, _ = Meter.objects.select_for_update().get_or_create(
        subject_id=subject_id,
        defaults={
            "org_id": owner.org_id,
            "workspace_id": owner.workspace_id,
            "agent_id": owner.agent_id,
            "counted_at": _whole(since),
            "read_at": since,
            "cpu_ms": cpu_ms,
        },
    )
    return meter


def _take_cpu(meter: Meter, reading: Reading) -> int:
    """Move a meter on to a reading; return by how much. A counter that is lower in a newer reading began anew."""
    counted = reading.usage.cpu_ms
    is_newer = reading.began_at >= meter.read_at
    if counted < meter.cpu_ms and not is_newer:
        return 0
    used = counted - meter.cpu_ms if counted >= meter.cpu_ms else counted
    meter.cpu_ms = counted
    return used


def _take_time(meter: Meter, until: datetime) -> Iterator[tuple[datetime, int]]:
    """Move a meter on to a moment; yield the whole seconds since then, hour by hour."""
    end = _whole(until)
    while meter.counted_at < end:
        bucket = hour_of(meter.counted_at)
        stop = min(end, bucket + HOUR)
        yield bucket, round((stop - meter.counted_at).total_seconds())
        meter.counted_at = stop
    meter.read_at = max(meter.read_at, until)


def _add(owner: _Owner, sandbox_id: uuid.UUID | None, moment: datetime, **used: int) -> None:
    """Add to the record of an hour, or begin it."""
    columns = ("cpu_ms", "memory_byte_seconds", "disk_byte_seconds", "network_up_bytes", "network_down_bytes")
    with connection.cursor() as cursor:
        cursor.execute(
            _ADD,
            [
                uuid7(),
                owner.org_id,
                now(),
                owner.workspace_id,
                owner.agent_id,
                sandbox_id,
                hour_of(moment),
                *(used.get(name, 0) for name in columns),
            ],
        )


def _whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)
