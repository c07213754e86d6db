"""Where a workspace's files lie: who may change that row, and when."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from conftest import recorded
from services.domain.errors import LeaseLost
from services.domain.plane.fencing import fence_host
from services.domain.plane.hosts import register_host
from services.domain.plane.models import Sandbox, SandboxState, Volume
from services.domain.plane.volumes import (
    Snapshot,
    adopt_volumes,
    find_volume,
    get_database_time,
    is_stored,
    list_held_names,
    list_to_archive,
    list_to_snapshot,
    mark_snapshot,
    note_volume,
    order_archive,
    place_volume,
    release_volume,
    touch_volume,
)
from services.domain.tenancy.transaction import tenant_transaction


@pytest.fixture
def volume(database) -> Volume:
    """Give a workspace's volume on a host called one."""
    for name in ("one", "two"):
        register_host(name, driver="fake", slots=4)
    return note_volume(uuid.uuid4(), uuid.uuid4(), "one", "files", 1024, 60)


def copied(volume: Volume, key: str = "snapshot-1") -> Volume:
    mark_snapshot(volume, Snapshot(key, 10, "ab" * 32, get_database_time()))
    return row_of(volume)


def row_of(volume: Volume) -> Volume:
    return Volume.objects.get(workspace_id=volume.workspace_id)


def aged(volume: Volume, seconds: float) -> None:
    Volume.objects.filter(workspace_id=volume.workspace_id).update(
        changed_at=get_database_time() - timedelta(seconds=seconds)
    )


def sandbox_of(volume: Volume, state: SandboxState) -> Sandbox:
    return Sandbox.objects.create(
        host_id="one",
        org_id=volume.org_id,
        workspace_id=volume.workspace_id,
        image="image:1",
        volume=volume.name,
        state=state,
    )


def test_noting_a_volume_again_takes_over_its_limits_and_nothing_else(volume):
    again = note_volume(volume.workspace_id, volume.org_id, "one", "files", 2048, None)
    assert (again.disk_bytes, again.archive_after_s, again.changed_at) == (2048, None, volume.changed_at)


def test_files_that_lie_elsewhere_are_not_noted_here(volume):
    with pytest.raises(LeaseLost):
        note_volume(volume.workspace_id, volume.org_id, "two", "files", 1024, 60)
    with pytest.raises(LeaseLost):
        note_volume(volume.workspace_id, volume.org_id, "one", "other", 1024, 60)


def test_a_fenced_host_gets_no_volume(volume):
    fence_host("two")
    with pytest.raises(LeaseLost):
        note_volume(uuid.uuid4(), volume.org_id, "two", "more", 1024, 60)
    with pytest.raises(LeaseLost):
        place_volume(volume, "two", "new")


def test_files_that_were_lost_before_they_were_stored_begin_anew(volume):
    fence_host("one")
    again = note_volume(volume.workspace_id, volume.org_id, "two", "fresh", 1024, 60)
    assert (again.host_id, again.name, again.lost_host) == ("two", "fresh", "")


def test_a_copy_is_recorded_on_top_of_the_one_known_then(volume):
    first = copied(volume)
    assert (first.snapshot_key, first.snapshot_bytes) == ("snapshot-1", 10)
    with pytest.raises(LeaseLost):
        mark_snapshot(volume, Snapshot("late", 10, "", get_database_time()))
    assert copied(first, "snapshot-2").snapshot_key == "snapshot-2"


def test_a_volume_is_released_only_when_its_copy_holds_all_of_it(volume):
    with pytest.raises(LeaseLost):
        release_volume(volume)
    first = copied(volume)
    touch_volume(volume.workspace_id)
    with pytest.raises(LeaseLost):
        release_volume(first)
    release_volume(copied(row_of(volume), "snapshot-2"))
    assert row_of(volume).host_id is None


def test_a_volume_in_use_is_not_released(volume):
    stored = copied(volume)
    sandbox_of(volume, SandboxState.CREATING)
    with pytest.raises(LeaseLost):
        release_volume(stored)


def test_files_are_restored_in_one_place_only(volume):
    release_volume(copied(volume))
    released = row_of(volume)
    assert place_volume(released, "two", "new").name == "new"
    with pytest.raises(LeaseLost):
        place_volume(released, "one", "other")
    assert (row_of(volume).host_id, row_of(volume).name) == ("two", "new")


def test_a_host_that_comes_back_has_its_volumes_again_unless_they_were_restored(volume):
    other = note_volume(uuid.uuid4(), volume.org_id, "one", "moved", 1024, 60)
    copied(volume)
    copied(other)
    fence_host("one")
    place_volume(row_of(other), "two", "restored")
    assert adopt_volumes("two", ["files"]) == 0
    assert adopt_volumes("one", ["files", "moved"]) == 1
    assert (row_of(volume).host_id, row_of(other).host_id) == ("one", "two")


def test_what_changed_and_was_then_left_alone_is_to_be_copied(volume):
    assert list_to_snapshot("one", after_s=60) == []
    aged(volume, 61)
    assert list_to_snapshot("one", after_s=60) == [volume]
    assert list_to_snapshot("two", after_s=60) == []
    copied(volume)
    assert list_to_snapshot("one", after_s=0) == []


def test_what_nobody_used_for_long_is_to_be_archived_unless_a_sandbox_is_there(volume):
    assert list_to_archive("one") == []
    aged(volume, 61)
    assert list_to_archive("one") == [volume]
    sandbox = sandbox_of(volume, SandboxState.PAUSED)
    assert list_to_archive("one") == []
    Sandbox.objects.filter(id=sandbox.id).update(state=SandboxState.STOPPED)
    assert list_to_archive("one") == [volume]
    Volume.objects.update(archive_after_s=None)
    assert list_to_archive("one") == []


def test_a_sandbox_that_was_there_since_the_copy_makes_it_unsure(volume):
    assert not is_stored(volume)
    stored = copied(volume)
    assert is_stored(stored)
    sandbox_of(volume, SandboxState.STOPPED)
    assert not is_stored(stored)


def test_the_volumes_of_workspaces_and_of_sandboxes_that_are_nobodys_yet_are_kept(volume):
    Sandbox.objects.create(host_id="one", image="image:1", volume="warm", state=SandboxState.WARM)
    Sandbox.objects.create(host_id="one", image="image:1", volume="gone", state=SandboxState.DESTROYED)
    names = ["files", "warm", "gone", "unknown"]
    assert list_held_names(names) == {"files", "warm"}
    copied(volume)
    fence_host("one")
    assert list_held_names(names) == {"files"}
    Volume.objects.update(lost_host="")
    assert list_held_names(names) == set()


def test_archiving_is_ordered_from_the_host_that_has_the_files(volume):
    with recorded() as seen, tenant_transaction(volume.org_id):
        order_archive(volume.workspace_id)
    (job,) = seen.jobs
    assert (job.type, job.queue) == ("volume.archive", "host.one")
    release_volume(copied(volume))
    with recorded() as seen, tenant_transaction(volume.org_id):
        order_archive(volume.workspace_id)
        order_archive(uuid.uuid4())
    assert seen.jobs == []
    assert find_volume(uuid.uuid4()) is None
