"""Where the files of persistent workspaces lie: on a host, in object storage, or both. The row is the truth.

A volume's name is never used twice: files that are restored get a new one. So a host that removes a volume which it
no longer holds can never remove what was restored meanwhile.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connections, transaction
from django.db.models import DateTimeField, ExpressionWrapper, F, Q, Value
from django.db.models.functions import Now

from services.domain.errors import LeaseLost
from services.domain.outbox.jobs import ArchiveVolume, enqueue, host_queue
from services.domain.plane.models import HOLDS_SLOT, Host, Sandbox, Volume
from services.kit.rows import first_of

# One trip: this is on the way of every new workspace. Where its files were on a lost host and never stored, nothing is
# left of them, and they begin anew.
_NOTE = """
WITH serving AS (SELECT name FROM host WHERE name = %(host)s AND fenced_at IS NULL FOR UPDATE)
INSERT INTO volume (workspace_id, org_id, host_id, name, disk_bytes, archive_after_s, changed_at, created_at,
    snapshot_key, snapshot_bytes, snapshot_sha256, lost_host)
SELECT %(workspace)s, %(org)s, serving.name, %(name)s, %(disk_bytes)s, %(archive_after_s)s, now(), now(), '', 0, '', ''
FROM serving
ON CONFLICT (workspace_id) DO UPDATE SET host_id = excluded.host_id, name = excluded.name, lost_host = '',
    disk_bytes = excluded.disk_bytes, archive_after_s = excluded.archive_after_s
WHERE (volume.host_id = excluded.host_id AND volume.name = excluded.name)
    OR (volume.host_id IS NULL AND volume.snapshot_key = '')
RETURNING *
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stored copy of a volume: its key in object storage, its size and hash as stored, when it was begun."""

    key: str
    size_bytes: int
    sha256: str
    begun_at: datetime


def find_volume(workspace_id: uuid.UUID) -> Volume | None:
    """Return where a workspace's files lie, or None when it has none yet."""
    return first_of(Volume.objects.raw("SELECT * FROM volume WHERE workspace_id = %s", [workspace_id]))


def note_volume(
    workspace_id: uuid.UUID,
    org_id: uuid.UUID,
    host: str,
    name: str,
    disk_bytes: int,
    archive_after_s: int | None,
) -> Volume:
    """Remember that a workspace's files lie in a volume of a host, which is about to be used.

    Locks: the host's row. Raises: LeaseLost when the host is fenced, or the files lie elsewhere.
    """
    noted = Volume.objects.raw(
        _NOTE,
        {
            "host": host,
            "workspace": workspace_id,
            "org": org_id,
            "name": name,
            "disk_bytes": disk_bytes,
            "archive_after_s": archive_after_s,
        },
    )
    for volume in noted:
        return volume
    raise LeaseLost("The workspace's files lie elsewhere, or the host is fenced.")


def touch_volume(workspace_id: uuid.UUID) -> None:
    """Remember that a workspace's files may have changed just now."""
    Volume.objects.filter(workspace_id=workspace_id).update(changed_at=Now())


def touch_volumes_of(sandbox_ids: Collection[uuid.UUID]) -> None:
    """Remember that the files of these sandboxes' workspaces may be changing now, by a person or a command."""
    used = Sandbox.objects.filter(id__in=sandbox_ids, workspace_id__isnull=False)
    Volume.objects.filter(workspace_id__in=used.values("workspace_id")).update(changed_at=Now())


def mark_snapshot(volume: Volume, snapshot: Snapshot) -> None:
    """Record a stored copy of a volume that still lies where it was copied from, on top of the copy known then.

    Raises: LeaseLost when the files were moved or copied by somebody else meanwhile.
    """
    rows = Volume.objects.filter(
        workspace_id=volume.workspace_id,
        host_id=volume.host_id,
        name=volume.name,
        snapshot_key=volume.snapshot_key,
    )
    changed = rows.update(
        snapshot_key=snapshot.key,
        snapshot_at=snapshot.begun_at,
        snapshot_bytes=snapshot.size_bytes,
        snapshot_sha256=snapshot.sha256,
    )
    if not changed:
        raise LeaseLost("The volume was moved while it was copied.")


def release_volume(volume: Volume) -> None:
    """Leave a workspace's files to their snapshot alone; their host may then remove the volume.

    Only when nothing has used them since the snapshot was begun and no sandbox of the workspace is there.
    Locks: the host's row, as who takes a sandbox does. Raises: LeaseLost.
    """
    with transaction.atomic(using="plane"):
        Host.objects.select_for_update().filter(name=volume.host_id).first()
        if Sandbox.objects.filter(workspace_id=volume.workspace_id, state__in=HOLDS_SLOT).exists():
            raise LeaseLost("The workspace is in use.")
        released = Volume.objects.filter(
            workspace_id=volume.workspace_id,
            host_id=volume.host_id,
            name=volume.name,
            snapshot_key=volume.snapshot_key,
            changed_at__lte=F("snapshot_at"),
        ).update(host=None, lost_host="")
        if not released:
            raise LeaseLost("The workspace's files changed since their snapshot.")


def give_up_volume(volume: Volume) -> None:
    """Record that a host does not have a volume which it should have: its snapshot is all that there is."""
    rows = Volume.objects.filter(workspace_id=volume.workspace_id, host_id=volume.host_id, name=volume.name)
    rows.update(host=None, lost_host="")


def place_volume(volume: Volume, host: str, name: str) -> Volume:
    """Record that a volume's files, restored from its snapshot, lie on a host under a new name; returns the new row.

    Locks: the host's row. Raises: LeaseLost when somebody else was faster, or the host is fenced.
    """
    with transaction.atomic(using="plane"):
        _lock_serving_host(host)
        placed = Volume.objects.filter(
            workspace_id=volume.workspace_id,
            host_id=volume.host_id,
            name=volume.name,
            snapshot_key=volume.snapshot_key,
        ).update(host_id=host, name=name, lost_host="")
        if not placed:
            raise LeaseLost("The workspace's files were moved meanwhile.")
    return Volume.objects.get(workspace_id=volume.workspace_id)


def adopt_volumes(host: str, names: Collection[str]) -> int:
    """Give a host that comes back the volumes that it lost and nobody restored meanwhile; returns how many."""
    lost = Volume.objects.filter(host=None, lost_host=host, name__in=names)
    return lost.update(host_id=host, lost_host="")


def forget_volume(workspace_id: uuid.UUID) -> None:
    """Forget a workspace's files. They and their snapshots are gone, or are removed by who calls this."""
    Volume.objects.filter(workspace_id=workspace_id).delete()


def get_database_time() -> datetime:
    """Return the plane's own time, by which its rows are compared: clocks of hosts may differ."""
    with connections["plane"].cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment


def is_stored(volume: Volume) -> bool:
    """Say whether the snapshot holds all of a volume: no sandbox was there since it was begun."""
    if volume.snapshot_at is None or volume.changed_at > volume.snapshot_at:
        return False
    # A sandbox's times are its host's: a minute covers what clocks differ by.
    edge = volume.snapshot_at - timedelta(minutes=1)
    return not Sandbox.objects.filter(workspace_id=volume.workspace_id, state_at__gt=edge).exists()


def was_used(volume: Volume) -> bool:
    """Say whether any sandbox with this volume ever ran: only then are there files."""
    return Sandbox.objects.filter(volume=volume.name).exclude(link_until=None).exists()


def list_to_snapshot(host: str, *, after_s: float, limit: int = 20) -> list[Volume]:
    """List a host's volumes that changed since their snapshot and have been left alone for a while, oldest first."""
    changed = Q(snapshot_at=None) | Q(changed_at__gt=F("snapshot_at"))
    rows = Volume.objects.filter(changed, host_id=host, changed_at__lt=Now() - timedelta(seconds=after_s))
    return list(rows.order_by("changed_at")[:limit])


def list_to_archive(host: str, *, limit: int = 20) -> list[Volume]:
    """List a host's volumes that nobody has used for as long as their agent says, and no sandbox uses."""
    in_use = Sandbox.objects.filter(host_id=host, state__in=HOLDS_SLOT, workspace_id__isnull=False)
    due_at = ExpressionWrapper(
        F("changed_at") + F("archive_after_s") * Value(timedelta(seconds=1)), output_field=DateTimeField()
    )
    rows = Volume.objects.filter(host_id=host, archive_after_s__isnull=False).annotate(due_at=due_at)
    due = rows.filter(due_at__lte=Now()).exclude(workspace_id__in=in_use.values("workspace_id"))
    return list(due.order_by("changed_at")[:limit])


def list_volumes_on(host: str | None, *, after: uuid.UUID | None = None, limit: int = 500) -> list[Volume]:
    """List the volumes of a host, or with None those that lie in object storage alone, page by page."""
    rows = Volume.objects.filter(host_id=host)
    if after is not None:
        rows = rows.filter(workspace_id__gt=after)
    return list(rows.order_by("workspace_id")[:limit])


def list_held_names(names: Collection[str]) -> set[str]:
    """Return those of the volumes that must be kept: files of workspaces, and of sandboxes that are nobody's yet.

    On whichever host: several may share an engine. What lies in object storage alone is held by none of them.
    """
    of_workspaces = Volume.objects.filter(name__in=names).exclude(host=None, lost_host="")
    live = Sandbox.objects.filter(volume__in=names, state__in=HOLDS_SLOT)
    return {*of_workspaces.values_list("name", flat=True), *live.values_list("volume", flat=True)}


def order_archive(workspace_id: uuid.UUID) -> None:
    """Have the host that has a workspace's files leave them to object storage; in the caller's transaction.

    Queues: ArchiveVolume, when the files lie on a host.
    """
    volume = find_volume(workspace_id)
    if volume is not None and volume.host_id is not None:
        enqueue(ArchiveVolume(workspace_id=workspace_id), queue=host_queue(volume.host_id))


def _lock_serving_host(host: str) -> None:
    if Host.objects.select_for_update().filter(name=host, fenced_at=None).first() is None:
        raise LeaseLost("The host is fenced.")
