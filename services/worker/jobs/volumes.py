"""Copying a workspace's files to object storage and back. A host copies one volume at a time."""

from __future__ import annotations

import functools
import hashlib
import logging
import tempfile
import threading
import uuid
from typing import IO, BinaryIO, cast

import zstandard

from services.adapters.storage.registry import storage_of
from services.domain.errors import (
    CopiesBusy,
    LeaseLost,
    ObjectMissing,
    SnapshotCorrupt,
    SnapshotTooLarge,
    VolumeMissing,
)
from services.domain.plane.models import Volume
from services.domain.plane.volumes import (
    Snapshot,
    find_volume,
    get_database_time,
    mark_snapshot,
    place_volume,
)
from services.domain.ports.sandbox import SandboxDriver
from services.domain.ports.storage import ObjectStorage
from services.kit.environment import environment
from services.kit.ids import uuid7

log = logging.getLogger(__name__)

COPY_BYTES = 1024**2
# What a tar adds to small files is less than a file system's own share of each; twice the room holds either.
TAR_SHARE = 2
TAR_BYTES = 64 * 1024**2
SUFFIX = ".tar.zst"

_copying = threading.Lock()


@functools.cache
def storage() -> ObjectStorage:
    """Return this installation's object storage."""
    return storage_of(environment())


def snapshot_folder(org_id: uuid.UUID, workspace_id: uuid.UUID) -> str:
    """Return the prefix of all snapshots of a workspace."""
    return f"workspaces/{org_id}/{workspace_id}/"


def ensure_volume_here(volume: Volume, driver: SandboxDriver, storage: ObjectStorage) -> Volume:
    """Return the volume of a workspace as it lies on this host now, restored from its snapshot if it must be.

    The name may be another one than before: a restored volume has a new name. One that was never stored and is lost
    begins empty. Nothing is removed when this fails.
    Raises: LeaseLost when the files lie on another host, SnapshotCorrupt, VolumeFull, StorageAway.
    """
    here = environment().host_name
    current = find_volume(volume.workspace_id)
    if current is None or current.host_id not in (None, here):
        raise LeaseLost("The workspace's files lie elsewhere.")
    if current.host_id == here and current.name in driver.list_volumes():
        return current
    if current.snapshot_key:
        return _restore(current, here, driver, storage)
    if current.host_id is None:
        log.error("the files of workspace %s were lost before they were ever stored", current.workspace_id)
        return place_volume(current, here, uuid7().hex)
    return current


def store_snapshot(volume: Volume, driver: SandboxDriver, storage: ObjectStorage) -> Volume:
    """Copy a volume of this host to object storage and record it; only then are earlier copies removed.

    Raises: CopiesBusy, LeaseLost when the volume was moved meanwhile, VolumeMissing, SnapshotTooLarge, StorageAway.
    """
    if not _copying.acquire(blocking=False):
        raise CopiesBusy("Another volume is being copied.", retry_after_s=5.0)
    try:
        begun_at = get_database_time()
        key = _next_key(volume)
        with _spool() as spool:
            _save(volume, driver, spool)
            stored = storage.put(key, cast(BinaryIO, spool))
        try:
            mark_snapshot(volume, Snapshot(key, stored.size_bytes, stored.sha256, begun_at))
        except LeaseLost:
            storage.delete(key)
            raise
        if volume.snapshot_key:
            _delete_superseded(volume, storage)
    finally:
        _copying.release()
    fresh = find_volume(volume.workspace_id)
    if fresh is None:
        raise VolumeMissing("The workspace was deleted meanwhile.")
    return fresh


def delete_snapshots(volume: Volume, storage: ObjectStorage) -> None:
    """Remove every copy of a deleted workspace's files."""
    for key in list(storage.list(snapshot_folder(volume.org_id, volume.workspace_id))):
        storage.delete(key)


def _restore(volume: Volume, here: str, driver: SandboxDriver, storage: ObjectStorage) -> Volume:
    name = uuid7().hex
    with _spool() as spool:
        _fetch(volume, storage, spool)
        unpacked = zstandard.ZstdDecompressor().stream_reader(spool, closefd=False)
        driver.load_volume(name, cast(BinaryIO, unpacked), disk_bytes=volume.disk_bytes)
    try:
        placed = place_volume(volume, here, name)
    except LeaseLost:
        driver.remove_volume(name)
        raise
    log.info("restored the files of workspace %s of %s", volume.workspace_id, volume.snapshot_at)
    return placed


def _fetch(volume: Volume, storage: ObjectStorage, spool: IO[bytes]) -> None:
    """Bring a snapshot here whole and compare its hash before any byte of it is used. Raises: SnapshotCorrupt."""
    digest, size_bytes = hashlib.sha256(), 0
    try:
        source = storage.open(volume.snapshot_key)
    except ObjectMissing as error:
        raise SnapshotCorrupt("The stored copy of the workspace's files is not there.") from error
    with source:
        while data := source.read(COPY_BYTES):
            digest.update(data)
            size_bytes += len(data)
            if size_bytes > volume.snapshot_bytes:
                break
            spool.write(data)
    if (digest.hexdigest(), size_bytes) != (volume.snapshot_sha256, volume.snapshot_bytes):
        raise SnapshotCorrupt("The stored copy of the workspace's files is damaged.")
    spool.seek(0)


def _save(volume: Volume, driver: SandboxDriver, spool: IO[bytes]) -> None:
    """Write a volume's files, compressed, into a file, and go back to its beginning."""
    limit = volume.disk_bytes * TAR_SHARE + TAR_BYTES
    with zstandard.ZstdCompressor(level=3, write_checksum=True).stream_writer(spool, closefd=False) as packer:
        driver.save_volume(volume.name, cast(BinaryIO, _Bounded(packer, limit)))
    spool.seek(0)


class _Bounded:
    """Passes bytes on up to a limit: a sparse file may claim any size, whatever room it takes."""

    def __init__(self, target: zstandard.ZstdCompressionWriter, limit: int) -> None:
        self._target = target
        self._left = limit

    def write(self, data: bytes | bytearray | memoryview) -> int:
        size = memoryview(data).nbytes
        self._left -= size
        if self._left < 0:
            raise SnapshotTooLarge(
                "The workspace's files are larger than its room; sparse files count in full."
            )
        self._target.write(data)
        return size

    def flush(self) -> None:
        """Do nothing: the compressor ends its frame by itself."""


def _next_key(volume: Volume) -> str:
    """Return a key that sorts after that of the last copy, whatever the clocks say."""
    snapshot_id = uuid7()
    last = volume.snapshot_key.rpartition("/")[2].removesuffix(SUFFIX)
    if last and str(snapshot_id) <= last:
        snapshot_id = uuid.UUID(int=uuid.UUID(last).int + 1)
    return f"{snapshot_folder(volume.org_id, volume.workspace_id)}{snapshot_id}{SUFFIX}"


def _delete_superseded(volume: Volume, storage: ObjectStorage) -> None:
    """Remove the copy that was the last one, and those before it that were never recorded."""
    for key in list(storage.list(snapshot_folder(volume.org_id, volume.workspace_id))):
        if key <= volume.snapshot_key:
            storage.delete(key)


def _spool() -> IO[bytes]:
    """Open a file without a name, for one copy on its way: a crash leaves nothing of it."""
    folder = environment().data_dir / "spool"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return tempfile.TemporaryFile(dir=folder)
