"""Snapshots, archiving, restoring and draining: no file is removed before it is stored, whatever fails."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import pytest

from conftest import Tenant, recorded
from services.adapters.storage.folder import FolderStorage
from services.domain.errors import (
    CopiesBusy,
    FilesInUse,
    LeaseLost,
    SnapshotCorrupt,
    SnapshotTooLarge,
    StorageAway,
)
from services.domain.outbox.jobs import ArchiveVolume, DrainHost, SnapshotVolume
from services.domain.plane.actions import change_state, hold_sandboxes, take_sandbox
from services.domain.plane.fencing import fence_host
from services.domain.plane.hosts import choose_host, drain_host, register_host
from services.domain.plane.models import Host, Sandbox, SandboxState, Volume
from services.domain.plane.volumes import get_database_time, touch_volume
from services.domain.ports.storage import StoredObject
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import delete_workspace
from services.domain.workspaces.models import Workspace
from services.domain.workspaces.queries import KEPT_UNCLAIMED
from services.kit.clock import now
from services.worker.jobs import archiving, hosts
from services.worker.jobs import sandboxes as sandbox_jobs
from services.worker.jobs import volumes as copies
from tests.domain.cast import submit
from tests.domain.test_hosts import wish
from tests.fakes.sandbox_driver import FakeDriver
from tests.worker.test_hosts import HERE, started


class Storage(FolderStorage):
    """A folder that fails, or lets something happen, when an object is put."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.before_put: Callable[[], object] = lambda: None
        self.after_put: Callable[[], object] = lambda: None

    def put(self, key: str, stream: BinaryIO) -> StoredObject:
        self.before_put()
        stored = super().put(key, stream)
        self.after_put()
        return stored


@pytest.fixture
def storage(tmp_path, monkeypatch) -> Storage:
    """Put a folder behind this host's worker."""
    made = Storage(tmp_path / "objects")
    for module in (copies, archiving):
        monkeypatch.setattr(module, "storage", lambda: made)
    return made


@pytest.fixture
def engine(database, monkeypatch, storage) -> FakeDriver:
    """Put an engine in memory behind this host's worker."""
    fake = FakeDriver()
    monkeypatch.setattr(sandbox_jobs, "driver", lambda: fake)
    hosts.beat_host()
    return fake


@pytest.fixture
def volume(acme, engine) -> Volume:
    """Give the volume of a workspace whose sandbox was stopped."""
    sandbox = started(acme, engine)
    sandbox_jobs.stop_if_at_rest(sandbox, reason="idle")
    return row_of(sandbox)


def row_of(which: Volume | Sandbox) -> Volume:
    return Volume.objects.get(workspace_id=which.workspace_id)


def archive(volume: Volume) -> Volume:
    archiving.archive_volume(ArchiveVolume(workspace_id=volume.workspace_id))
    return row_of(volume)


def ensure(volume: Volume, engine: FakeDriver, storage: Storage) -> Volume:
    return copies.ensure_volume_here(volume, engine, storage)


def keys_of(volume: Volume, storage: Storage) -> list[str]:
    return list(storage.list(copies.snapshot_folder(volume.org_id, volume.workspace_id)))


def raise_away() -> None:
    raise StorageAway("no answer")


def test_a_snapshot_is_stored_with_its_hash_and_the_files_stay(volume, engine, storage):
    archiving.snapshot_volume(SnapshotVolume(workspace_id=volume.workspace_id))
    row = row_of(volume)
    assert keys_of(volume, storage) == [row.snapshot_key]
    assert row.snapshot_key.startswith(f"workspaces/{volume.org_id}/{volume.workspace_id}/")
    assert len(row.snapshot_sha256) == 64
    assert row.snapshot_bytes > 0
    assert engine.volumes[volume.name] == {"notes": b"here"}


def test_a_new_snapshot_takes_the_place_of_the_old_one_and_of_what_a_crash_left(volume, engine, storage):
    archiving.snapshot_volume(SnapshotVolume(workspace_id=volume.workspace_id))
    first = row_of(volume)
    orphan = f"{copies.snapshot_folder(volume.org_id, volume.workspace_id)}{uuid.UUID(int=7)}.tar.zst"
    storage.put(orphan, io.BytesIO(b"half"))
    touch_volume(volume.workspace_id)
    archiving.snapshot_volume(SnapshotVolume(workspace_id=volume.workspace_id))
    assert keys_of(volume, storage) == [row_of(volume).snapshot_key]
    assert row_of(volume).snapshot_key > first.snapshot_key


def test_the_old_snapshot_stays_until_the_new_one_is_recorded(volume, engine, storage):
    archiving.snapshot_volume(SnapshotVolume(workspace_id=volume.workspace_id))
    first = row_of(volume)
    touch_volume(volume.workspace_id)
    storage.before_put = raise_away
    with pytest.raises(StorageAway):
        archiving.snapshot_volume(SnapshotVolume(workspace_id=volume.workspace_id))
    assert keys_of(volume, storage) == [first.snapshot_key]
    assert row_of(volume).snapshot_key == first.snapshot_key


def test_a_snapshot_of_a_host_that_was_fenced_meanwhile_is_dropped(volume, engine, storage):
    storage.after_put = lambda: fence_host(HERE)
    with pytest.raises(LeaseLost):
        archiving.snapshot_volume(SnapshotVolume(workspace_id=volume.workspace_id))
    assert keys_of(volume, storage) == []
    assert row_of(volume).snapshot_key == ""


def test_one_volume_is_copied_at_a_time(volume, engine, storage):
    def again() -> None:
        with pytest.raises(CopiesBusy):
            copies.store_snapshot(volume, engine, storage)

    storage.before_put = again
    archiving.snapshot_volume(SnapshotVolume(workspace_id=volume.workspace_id))
    assert row_of(volume).snapshot_key


def test_files_that_claim_more_than_their_room_are_not_copied(volume, engine, storage, monkeypatch):
    monkeypatch.setattr(copies, "TAR_BYTES", 0)
    Volume.objects.update(disk_bytes=1000)
    with pytest.raises(SnapshotTooLarge):
        archiving.snapshot_volume(SnapshotVolume(workspace_id=volume.workspace_id))
    assert row_of(volume).host_id == HERE
    assert volume.name in engine.volumes


def test_what_changed_is_copied_by_the_sweep_once_it_was_left_alone(volume, engine, storage):
    archiving.sweep_volumes()
    assert keys_of(volume, storage) == []
    Volume.objects.update(changed_at=get_database_time() - timedelta(hours=1))
    archiving.sweep_volumes()
    (key,) = keys_of(volume, storage)
    archiving.sweep_volumes()
    assert keys_of(volume, storage) == [key]


def test_archiving_stores_the_files_and_removes_them_here(volume, engine, storage):
    row = archive(volume)
    assert (row.host_id, engine.volumes) == (None, {})
    assert keys_of(volume, storage) == [row.snapshot_key]
    with tenant_transaction(volume.org_id):
        assert Workspace.objects.get(id=volume.workspace_id).sandbox_state == "archived"
    assert archive(volume).snapshot_key == row.snapshot_key


def test_archiving_stops_an_idle_sandbox_first(acme, engine, storage):
    sandbox = started(acme, engine)
    row = archive(row_of(sandbox))
    assert row.host_id is None
    assert (engine.running, engine.volumes) == ({}, {})
    assert Sandbox.objects.get(id=sandbox.id).state == SandboxState.STOPPED


@pytest.mark.parametrize("use", ["at work", "held by a person"])
def test_files_in_use_are_not_archived(acme, engine, storage, use):
    sandbox = started(acme, engine)
    if use == "at work":
        Sandbox.objects.filter(id=sandbox.id).update(state=SandboxState.BUSY, task_id=uuid.uuid4())
    else:
        hold_sandboxes([sandbox.id])
    with pytest.raises(FilesInUse):
        archive(row_of(sandbox))
    assert row_of(sandbox).host_id == HERE
    assert sandbox.id in engine.running


def test_a_task_that_comes_while_the_files_are_copied_keeps_them_here(acme, volume, engine, storage):
    def take() -> None:
        sandbox_of_next = Sandbox.objects.create(
            host_id=HERE, workspace_id=volume.workspace_id, image="image:1", volume=volume.name
        )
        assert sandbox_of_next.state == SandboxState.CREATING

    storage.before_put = take
    with pytest.raises(LeaseLost):
        archive(volume)
    assert row_of(volume).host_id == HERE
    assert volume.name in engine.volumes


def test_storage_that_is_away_costs_no_file(volume, engine, storage):
    storage.before_put = raise_away
    with pytest.raises(StorageAway):
        archive(volume)
    assert row_of(volume).host_id == HERE
    assert engine.volumes[volume.name] == {"notes": b"here"}


def test_what_nobody_used_for_long_is_archived_by_the_sweep(volume, engine, storage):
    Volume.objects.update(changed_at=get_database_time() - timedelta(hours=2), archive_after_s=3600)
    archiving.sweep_volumes()
    assert row_of(volume).host_id is None
    assert engine.volumes == {}


def test_a_volume_that_no_start_ever_filled_is_not_looked_for_again(acme, engine, storage):
    taken = take_sandbox(HERE, wish(submit(acme)))
    assert taken is not None
    change_state(taken.sandbox.id, SandboxState.FAILED, error="engine_away: no answer")
    Volume.objects.update(changed_at=get_database_time() - timedelta(hours=2))
    archiving.sweep_volumes()
    row = Volume.objects.get(name=taken.sandbox.volume)
    assert (row.host_id, row.snapshot_key) == (None, "")


def test_a_volume_that_was_used_and_is_away_is_kept_for_an_operator(volume, engine, storage):
    Sandbox.objects.update(link_until=get_database_time())
    files = engine.volumes.pop(volume.name)
    Volume.objects.update(changed_at=get_database_time() - timedelta(hours=2))
    archiving.sweep_volumes()
    assert row_of(volume).host_id == HERE
    engine.volumes[volume.name] = files
    archiving.sweep_volumes()
    assert row_of(volume).snapshot_key != ""


def test_files_that_were_used_since_the_order_stay(volume, engine, storage):
    moment = get_database_time()
    touch_volume(volume.workspace_id)
    archiving.archive_volume(
        ArchiveVolume(workspace_id=volume.workspace_id, unless_used_since=moment - timedelta(seconds=1))
    )
    assert row_of(volume).host_id == HERE


def test_archived_files_come_back_under_a_new_name(volume, engine, storage):
    back = ensure(archive(volume), engine, storage)
    assert back.host_id == HERE
    assert back.name != volume.name
    assert engine.volumes == {back.name: {"notes": b"here"}}
    assert ensure(back, engine, storage).name == back.name


def test_a_volume_that_the_engine_lost_is_restored(volume, engine, storage):
    archiving.snapshot_volume(SnapshotVolume(workspace_id=volume.workspace_id))
    engine.volumes.clear()
    back = ensure(row_of(volume), engine, storage)
    assert engine.volumes == {back.name: {"notes": b"here"}}


def test_files_of_a_fenced_host_come_back_from_their_snapshot(volume, engine, storage):
    archiving.snapshot_volume(SnapshotVolume(workspace_id=volume.workspace_id))
    Volume.objects.update(host_id=register_host("other", driver="fake", slots=1).name)
    engine.volumes.clear()
    fence_host("other")
    back = ensure(row_of(volume), engine, storage)
    assert (back.host_id, back.lost_host) == (HERE, "")
    assert engine.volumes == {back.name: {"notes": b"here"}}


def test_files_that_lie_on_another_host_are_not_brought_here(volume, engine, storage):
    register_host("other", driver="fake", slots=1)
    Volume.objects.update(host_id="other")
    with pytest.raises(LeaseLost):
        ensure(volume, engine, storage)


def test_files_that_were_never_stored_and_are_lost_begin_empty(volume, engine, storage):
    fence_host(HERE)
    Host.objects.update(fenced_at=None)
    back = ensure(row_of(volume), engine, storage)
    assert (back.host_id, back.snapshot_key) == (HERE, "")
    assert back.name not in engine.volumes


@pytest.mark.parametrize("damage", ["changed", "cut", "longer", "missing"])
def test_a_damaged_snapshot_is_refused_and_nothing_is_removed(volume, engine, storage, damage, tmp_path):
    row = archive(volume)
    path = tmp_path / "objects" / row.snapshot_key
    whole = path.read_bytes()
    changed = {"changed": whole[:-1] + bytes([whole[-1] ^ 1]), "cut": whole[:-1], "longer": whole + b"x"}
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(changed[damage])
    with pytest.raises(SnapshotCorrupt):
        ensure(row, engine, storage)
    assert row_of(volume).snapshot_key == row.snapshot_key
    assert engine.volumes == {}
    assert path.exists() == (damage != "missing")


def test_who_restores_second_leaves_nothing_behind(volume, engine, storage, monkeypatch):
    row = archive(volume)
    register_host("other", driver="fake", slots=1)
    load = engine.load_volume

    def load_while_another_is_faster(name: str, source: BinaryIO, *, disk_bytes: int) -> None:
        load(name, source, disk_bytes=disk_bytes)
        Volume.objects.update(host_id="other", name="theirs")

    monkeypatch.setattr(engine, "load_volume", load_while_another_is_faster)
    with pytest.raises(LeaseLost):
        ensure(row, engine, storage)
    assert engine.volumes == {}
    assert row_of(volume).name == "theirs"


def test_the_files_and_copies_of_a_deleted_workspace_are_removed_wherever_they_are(acme, engine, storage):
    here, stored = (row_of(started(acme, engine)) for _ in range(2))
    archiving.snapshot_volume(SnapshotVolume(workspace_id=here.workspace_id))
    archive(stored)
    for volume in (here, stored):
        end_tasks(acme, volume)
        delete_workspace(acme.owner, volume.workspace_id)
    archiving.sweep_volumes()
    assert (engine.running, engine.volumes) == ({}, {})
    assert list(storage.list("workspaces/")) == []
    assert not Volume.objects.exists()


def test_files_of_work_that_is_not_kept_wait_a_day_for_who_claims_it(acme, engine):
    left, claimed, at_work = (row_of(started(acme, engine)) for _ in range(3))
    end_tasks(acme, left)
    end_tasks(acme, claimed)
    with tenant_transaction(acme.organisation.id):
        Workspace.objects.exclude(id=claimed.workspace_id).update(is_persistent=False)
    archiving.sweep_volumes()
    assert Volume.objects.count() == 3
    with tenant_transaction(acme.organisation.id):
        Workspace.objects.update(last_active_at=now() - KEPT_UNCLAIMED - timedelta(minutes=1))
    archiving.sweep_volumes()
    kept = {volume.workspace_id for volume in Volume.objects.all()}
    assert kept == {claimed.workspace_id, at_work.workspace_id}


def end_tasks(tenant: Tenant, volume: Volume) -> None:
    with tenant_transaction(tenant.organisation.id):
        Workspace.objects.get(id=volume.workspace_id).tasks.all().delete()


def test_a_volume_that_no_row_names_is_removed_once_it_is_old(engine, storage, monkeypatch):
    engine.volumes = {uuid.uuid4().hex: {}, copies.uuid7().hex: {}}
    young = max(engine.volumes, key=lambda name: uuid.UUID(hex=name).version or 0)
    archiving.sweep_volumes()
    assert list(engine.volumes) == [young]
    monkeypatch.setattr(archiving, "STRAY_AGE_S", -1.0)
    archiving.sweep_volumes()
    assert engine.volumes == {}


def test_draining_stores_what_is_at_rest_and_lets_a_turn_end(acme, engine, storage):
    idle, busy = started(acme, engine), started(acme, engine)
    change_state(busy.id, SandboxState.BUSY)
    Sandbox.objects.filter(id=busy.id).update(task_id=uuid.uuid4())
    drain_host("alice", HERE)
    archiving.drain_host(DrainHost(host=HERE))
    assert row_of(idle).host_id is None
    assert row_of(busy).host_id == HERE
    assert list(engine.running) == [busy.id]
    assert choose_host(wish(submit(acme, workspace_id=idle.workspace_id))) is None
    change_state(busy.id, SandboxState.IDLE)
    with recorded() as seen:
        archiving.sweep_volumes()
    assert (engine.running, engine.volumes) == ({}, {})
    assert "task.dispatch" in seen.job_types
    register_host("other", driver="fake", slots=4)
    assert choose_host(wish(submit(acme, workspace_id=busy.workspace_id))) == "other"


def test_draining_removes_warm_sandboxes(engine, storage):
    warm = Sandbox.objects.create(host_id=HERE, image="image:1", volume="warm", state=SandboxState.WARM)
    engine.running[warm.id] = sandbox_jobs.driver().inspect(warm.id).status
    engine.volumes["warm"] = {}
    drain_host("alice", HERE)
    archiving.drain_host(DrainHost(host=HERE))
    assert (engine.running, engine.volumes) == ({}, {})
    assert Sandbox.objects.get(id=warm.id).state == SandboxState.DESTROYED


def test_an_order_reaches_the_host_that_has_the_files(volume, engine, storage):
    register_host("other", driver="fake", slots=1)
    Volume.objects.update(host_id="other")
    with recorded() as seen:
        archive(volume)
    assert [(job.type, job.queue) for job in seen.jobs] == [("volume.archive", "host.other")]
