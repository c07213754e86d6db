"""Which host serves a task, and what becomes of a host's work when it falls silent."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from conftest import recorded
from services.domain.errors import Missing
from services.domain.plane.actions import Wanted, change_state, take_sandbox
from services.domain.plane.fencing import fence_host, fence_stale_hosts
from services.domain.plane.hosts import (
    choose_host,
    describe_state,
    drain_host,
    list_stale_hosts,
    register_host,
    rejoin_host,
    undrain_host,
    with_loads,
)
from services.domain.plane.models import Host, Sandbox, SandboxState, Volume
from services.domain.ports.sandbox import HostResources
from services.domain.tasks.dispatch import claim_task
from services.domain.tasks.models import Task, TaskStatus
from services.kit.clock import now
from tests.domain.cast import Runner, fresh, submit

GIB = 1024**3


def wish(task: Task, *, image: str = "image:1", runtime: str = "") -> Wanted:
    return Wanted(
        org_id=task.org_id, workspace_id=task.workspace_id, task_id=task.id, image=image, runtime=runtime
    )


def host(
    name: str,
    *,
    slots: int = 4,
    free_gib: int = 8,
    images: frozenset[str] = frozenset(),
    runtimes: frozenset[str] = frozenset(),
) -> Host:
    resources = HostResources(16 * GIB, free_gib * GIB, runtimes, images)
    return register_host(name, driver="fake", slots=slots, resources=resources)


def placed(task: Task, name: str) -> Sandbox:
    taken = take_sandbox(name, wish(task))
    assert taken is not None
    assert claim_task(task, taken.sandbox.id) is not None
    change_state(taken.sandbox.id, SandboxState.BUSY)
    return taken.sandbox


def silence(name: str, *, seconds: float = 60) -> None:
    Host.objects.filter(name=name).update(last_beat_at=now() - timedelta(seconds=seconds))


def test_a_heartbeat_updates_what_the_host_has(database):
    host("one", free_gib=3, images=frozenset({"b", "a"}), runtimes=frozenset({"runsc"}))
    row = Host.objects.get(name="one")
    assert (row.memory_free_bytes, row.images, row.runtimes) == (3 * GIB, ["a", "b"], ["runsc"])
    register_host("one", driver="fake", slots=2, accepted_gaps=["disk_limit"])
    row = Host.objects.get(name="one")
    assert (row.slots, row.accepted_gaps, row.memory_free_bytes) == (2, ["disk_limit"], 3 * GIB)


def test_the_host_with_the_most_memory_left_serves(acme):
    host("small", free_gib=2)
    host("large", free_gib=9)
    assert choose_host(wish(submit(acme))) == "large"


def test_what_sandboxes_may_still_take_counts_as_taken(acme):
    host("one", free_gib=8)
    host("two", free_gib=8)
    names = []
    for _ in range(4):
        task = submit(acme)
        name = choose_host(wish(task))
        assert name is not None
        placed(task, name)
        names.append(name)
    assert sorted(names) == ["one", "one", "two", "two"]


def test_a_host_that_has_the_image_goes_before_one_with_more_memory(acme):
    host("bare", free_gib=9)
    host("ready", free_gib=2, images=frozenset({"image:1"}))
    assert choose_host(wish(submit(acme))) == "ready"


def test_a_runtime_class_is_served_where_it_is_and_refused_by_the_start_where_none_has_it(acme):
    host("plain", free_gib=9)
    host("gvisor", free_gib=2, runtimes=frozenset({"runsc"}))
    assert choose_host(wish(submit(acme), runtime="runsc")) == "gvisor"
    assert choose_host(wish(submit(acme), runtime="kata")) == "plain"


def test_a_full_host_is_passed_over_unless_something_there_can_make_room(acme):
    host("one", slots=1, free_gib=9)
    sandbox = placed(submit(acme), "one")
    assert choose_host(wish(submit(acme))) is None
    change_state(sandbox.id, SandboxState.IDLE)
    assert choose_host(wish(submit(acme))) == "one"
    host("two", slots=1, free_gib=1)
    assert choose_host(wish(submit(acme))) == "two"


def test_a_workspace_goes_to_the_host_that_has_its_files(acme):
    host("one", free_gib=1)
    host("two", free_gib=9)
    task = submit(acme)
    sandbox = placed(task, "one")
    following = submit(acme, workspace_id=task.workspace_id)
    assert choose_host(wish(following)) == "one"
    change_state(sandbox.id, SandboxState.STOPPED)
    assert Volume.objects.get(workspace_id=task.workspace_id).host_id == "one"
    assert choose_host(wish(following)) == "one"


@pytest.mark.parametrize("state", ["silent", "draining", "fenced"])
def test_a_host_that_does_not_serve_is_not_chosen(acme, state):
    host("one")
    task = submit(acme)
    assert choose_host(wish(task)) == "one"
    if state == "silent":
        silence("one")
    elif state == "draining":
        drain_host("alice", "one")
    else:
        fence_host("one")
    assert choose_host(wish(task)) is None


def test_draining_is_ordered_from_the_host_and_ends_with_a_look_at_who_waits(acme):
    host("one")
    with recorded() as seen:
        drain_host("alice", "one")
    assert [(job.type, job.queue) for job in seen.jobs] == [("host.drain", "host.one")]
    with recorded() as seen:
        undrain_host("alice", "one")
    assert seen.job_types == ["task.dispatch"]
    assert Host.objects.get(name="one").is_draining is False
    for order in (drain_host, undrain_host):
        with pytest.raises(Missing):
            order("alice", "nowhere")


def test_a_silent_host_is_fenced_once_and_never_by_itself(acme):
    host("one")
    host("two")
    silence("one")
    before = Host.objects.get(name="one").epoch
    assert [row.name for row in list_stale_hosts()] == ["one"]
    assert fence_stale_hosts(asking="one") == 0
    assert fence_stale_hosts(asking="two") == 1
    assert fence_stale_hosts(asking="two") == 0
    row = Host.objects.get(name="one")
    assert row.fenced_at is not None
    assert row.epoch != before
    assert Host.objects.get(name="two").fenced_at is None


def test_a_fenced_host_that_beats_stays_fenced_until_it_joins_under_its_new_epoch(acme):
    old = host("one").epoch
    fence_host("one")
    row = host("one")
    assert row.fenced_at is not None
    assert not rejoin_host("one", old)
    assert rejoin_host("one", row.epoch)
    assert Host.objects.get(name="one").fenced_at is None


def test_a_turn_of_a_lost_host_that_did_nothing_yet_is_queued_again(acme):
    host("one")
    task = submit(acme)
    sandbox = placed(task, "one")
    Runner(task, sandbox.id).says("turn.started", provider="shell")
    assert fresh(task).status == TaskStatus.RUNNING
    with recorded() as seen:
        fence_host("one")
    assert fresh(task).status == TaskStatus.QUEUED
    assert "task.queued" in seen.event_types
    assert "task.dispatch" in seen.job_types
    row = Sandbox.objects.get(id=sandbox.id)
    assert (row.state, row.error.partition(":")[0]) == (SandboxState.FAILED, "host_lost")


def test_a_turn_of_a_lost_host_that_did_something_fails_and_its_runner_is_not_heard_any_more(acme):
    host("one")
    task = submit(acme)
    runner = Runner(task, placed(task, "one").id)
    runner.says("turn.started", provider="shell")
    runner.says("tool.called", call_id="1", name="shell", input={})
    following = submit(acme, workspace_id=task.workspace_id)
    fence_host("one")
    assert (fresh(task).status, fresh(task).error_code) == (TaskStatus.FAILED, "host_lost")
    assert fresh(following).status == TaskStatus.QUEUED
    runner.says("turn.done", status="succeeded", text="late")
    assert fresh(task).status == TaskStatus.FAILED


def test_the_files_of_a_lost_host_are_without_a_host_and_stopped_sandboxes_are_gone(acme):
    host("one")
    task = submit(acme)
    sandbox = placed(task, "one")
    change_state(sandbox.id, SandboxState.STOPPED)
    fence_host("one")
    volume = Volume.objects.get(workspace_id=task.workspace_id)
    assert (volume.host_id, volume.lost_host) == (None, "one")
    assert Sandbox.objects.get(id=sandbox.id).state == SandboxState.DESTROYED


def test_a_fencing_that_was_cut_short_is_finished_by_the_next_look(acme):
    host("one")
    host("two")
    task = submit(acme)
    sandbox = placed(task, "one")
    Host.objects.filter(name="one").update(fenced_at=now(), epoch=uuid.uuid4())
    fence_stale_hosts(asking="two")
    assert fresh(task).status == TaskStatus.QUEUED
    assert Sandbox.objects.get(id=sandbox.id).state == SandboxState.FAILED


def test_an_operator_sees_what_is_on_each_host(acme):
    host("one")
    host("two")
    placed(submit(acme), "one")
    loads = {row.name: row for row in with_loads(Host.objects.all())}
    assert (loads["one"].used, loads["one"].busy, loads["one"].volumes_here) == (1, 1, 1)
    assert loads["one"].promised == GIB
    assert (loads["two"].used, loads["two"].volumes_here, loads["two"].promised) == (0, 0, 0)


def test_a_hosts_state_is_told_in_a_word(database):
    def state(*, used: int = 0) -> str:
        return describe_state(Host.objects.get(name="one"), used=used, volumes=0)

    host("one")
    assert state() == "serving"
    drain_host("alice", "one")
    assert (state(used=1), state()) == ("draining", "drained")
    silence("one")
    assert state() == "silent"
    fence_host("one")
    assert state() == "fenced"
