"""The warm pool: filled by demand, drawn on by whoever has no files yet, never given back to."""

from __future__ import annotations

from datetime import timedelta

import pytest

from conftest import recorded
from services.domain.errors import ImageMissing
from services.domain.outbox.jobs import FillPool, SettleSandbox
from services.domain.plane.actions import note_linked
from services.domain.plane.demand import PoolBounds, plan_pool
from services.domain.plane.hosts import register_host
from services.domain.plane.models import Host, Sandbox, SandboxState, Volume, WarmDemand
from services.domain.tasks.dispatch import fail_task
from services.domain.tasks.models import TaskStatus
from services.kit.clock import now
from services.worker import sweeps
from services.worker.jobs import dispatching, pool
from services.worker.jobs.sandboxes import start_container
from tests.domain.cast import fresh, submit
from tests.fakes.sandbox_driver import FakeDriver
from tests.worker.engines import dispatched


def filled() -> list[Sandbox]:
    """Fill the pool, let the runners link, and return the warm sandboxes."""
    pool.fill_pool(FillPool())
    for sandbox in Sandbox.objects.filter(state=SandboxState.CREATING, workspace_id=None):
        note_linked(sandbox.id)
    return list(Sandbox.objects.filter(state=SandboxState.WARM).order_by("id"))


def test_the_usual_kind_is_kept_ready_before_anybody_asked(acme, engine: FakeDriver):
    (warm,) = filled()
    assert (warm.org_id, warm.workspace_id, warm.task_id) == (None, None, None)
    assert engine.specs[0].volume == warm.volume == warm.id.hex
    assert filled() == [warm]


def test_a_new_workspace_claims_the_warm_one_with_its_volume(acme, engine: FakeDriver):
    (warm,) = filled()
    with recorded() as seen:
        task, sandbox = dispatched(acme)
    assert sandbox.id == warm.id
    assert (sandbox.state, sandbox.task_id, sandbox.org_id) == ("busy", task.id, task.org_id)
    assert sandbox.claimed_at is not None
    assert Volume.objects.get(workspace_id=task.workspace_id).name == warm.volume
    assert len(engine.specs) == 1
    assert "pool.fill" in seen.job_types
    assert [event.data["state"] for event in seen.events if event.type == "sandbox.changed"] == ["busy"]


def test_an_ephemeral_workspaces_claimed_sandbox_is_not_given_back(acme, engine: FakeDriver):
    (warm,) = filled()
    task, _ = dispatched(acme, mode="batch")
    dispatching.settle_sandbox(SettleSandbox(sandbox_id=warm.id, task_id=task.id, keep=False))
    assert Sandbox.objects.get(id=warm.id).state == SandboxState.DESTROYED
    assert (engine.running, engine.volumes) == ({}, {})


def test_a_workspace_with_files_gets_those_and_no_warm_one(acme, engine: FakeDriver):
    task, first = dispatched(acme)
    fail_task(task.org_id, task.id, first.id, reason=("lost", "Lost."))
    dispatching.settle_sandbox(SettleSandbox(sandbox_id=first.id, task_id=task.id, keep=False))
    (warm,) = filled()
    _, second = dispatched(acme, workspace_id=task.workspace_id)
    assert second.id != warm.id
    assert second.volume == first.volume


def test_a_warm_one_of_another_kind_or_without_its_runner_is_not_claimed(acme, engine: FakeDriver):
    (warm,) = filled()
    Sandbox.objects.filter(id=warm.id).update(link_until=now() - timedelta(seconds=1))
    _, created = dispatched(acme)
    assert created.id != warm.id
    Sandbox.objects.filter(id=warm.id).update(link_until=now() + timedelta(seconds=30), profile="other")
    _, created = dispatched(acme)
    assert created.id != warm.id


def test_the_pool_follows_demand_within_its_bounds_and_the_slots_left_over(acme, engine: FakeDriver):
    register_host("testhost", driver="fake", slots=20)
    tasks = [dispatched(acme, mode="batch") for _ in range(9)]
    assert len(filled()) == 4
    register_host("testhost", driver="fake", slots=11)
    assert len(filled()) == 2
    for task, sandbox in tasks:
        dispatching.settle_sandbox(SettleSandbox(sandbox_id=sandbox.id, task_id=task.id, keep=False))
    assert len(filled()) == 4
    WarmDemand.objects.update(last_wanted_at=now() - timedelta(minutes=9))
    assert len(filled()) == 1
    assert len(engine.running) == len(engine.volumes) == 1


def test_who_waits_comes_before_the_pool_and_takes_its_slots(acme, engine: FakeDriver):
    register_host("testhost", driver="fake", slots=1)
    (warm,) = filled()
    Sandbox.objects.filter(id=warm.id).update(profile="other")
    task, sandbox = dispatched(acme)
    assert fresh(task).status == TaskStatus.STARTING
    assert engine.running.keys() == {sandbox.id}
    submit(acme)
    assert filled() == []


def test_a_warm_sandbox_that_died_is_replaced(acme, engine: FakeDriver):
    (warm,) = filled()
    engine.running.clear()
    sweeps.sweep_sandboxes()
    assert Sandbox.objects.get(id=warm.id).state == SandboxState.FAILED
    (another,) = filled()
    assert another.id != warm.id


def test_a_draining_host_keeps_no_pool(acme, engine: FakeDriver):
    filled()
    Host.objects.update(is_draining=True)
    assert filled() == []
    assert engine.running == {}


def test_an_image_that_is_missing_is_not_asked_for_again_and_again(acme, engine: FakeDriver):
    engine.failure = ImageMissing("The image is not there.")
    for _ in range(3):
        pool.fill_pool(FillPool())
    assert Sandbox.objects.filter(state=SandboxState.FAILED).count() == 1


def test_a_sandbox_that_is_evicted_before_it_started_is_not_started(acme, engine: FakeDriver):
    register_host("testhost", driver="fake", slots=1)
    plan = plan_pool("testhost", PoolBounds(1, 4), usual=("usual", {"image": "image:1"}))
    _, sandbox = dispatched(acme)
    assert not start_container(plan.to_start[0])
    assert engine.running.keys() == {sandbox.id}


@pytest.mark.parametrize("bounds", [(0, 4), (1, 0)])
def test_without_a_least_number_nothing_waits_unasked(acme, engine: FakeDriver, bounds):
    least, most = bounds
    plan = plan_pool("testhost", PoolBounds(least, most), usual=("usual", {"image": "image:1"}))
    assert (plan.to_start, plan.to_remove) == ([], [])


def test_what_is_wanted_more_takes_the_place_of_what_waits_in_vain(acme, engine: FakeDriver):
    host, moment = Host.objects.get(name="testhost"), now()
    usual, builds = {"image": "image:1"}, {name: {"image": f"image:{name}"} for name in "abcd"}
    for name, build in builds.items():
        WarmDemand.objects.create(host=host, profile=name, wanted=build, rate=1.0, last_wanted_at=moment)
    bounds = PoolBounds(1, 4)
    full = plan_pool("testhost", bounds, usual=("usual", usual))
    assert len(full.to_start) == 4
    WarmDemand.objects.create(host=host, profile="usual", wanted=usual, rate=3.0, last_wanted_at=moment)
    plan = plan_pool("testhost", bounds, usual=("usual", usual))
    wanted = [row.profile for row in [*full.to_start, *plan.to_start] if row.profile == "usual"]
    assert len(wanted) == 3
    assert "usual" not in {row.profile for row in plan.to_remove}
    again = plan_pool("testhost", bounds, usual=("usual", usual))
    assert (again.to_start, again.to_remove) == ([], [])
