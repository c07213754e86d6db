"""What the sweeps repair: lost starts, lost sandboxes, idle ones, orphans, overdue tasks."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from conftest import recorded
from services.domain.errors import EngineAway, ImageMissing
from services.domain.outbox.jobs import DispatchTask, SettleSandbox, StopSandbox
from services.domain.plane.actions import change_state, register_host, take_sandbox
from services.domain.plane.models import Host, Sandbox, SandboxState
from services.domain.ports.sandbox import (
    EngineReport,
    Promise,
    SandboxReport,
    SandboxSpec,
    SandboxStatus,
)
from services.domain.tasks.models import Task, TaskStatus
from services.domain.tasks.submit import cancel_task
from services.domain.workspaces.actions import delete_workspace
from services.kit.clock import now
from services.worker import sweeps
from services.worker.jobs import sandboxes as sandbox_jobs
from tests.domain.cast import Runner, fresh, submit, wanted


class FakeDriver:
    """An engine in memory, by the driver's port."""

    kind = "fake"
    promises = frozenset(Promise) - {Promise.MEMORY_LIMIT}

    def __init__(self) -> None:
        self.running: dict[uuid.UUID, SandboxStatus] = {}
        self.specs: list[SandboxSpec] = []
        self.volumes_removed: list[str] = []
        self.failure: Exception | None = None
        self.is_out_of_memory = False
        self.is_up = True

    def check(self) -> EngineReport:
        return EngineReport(is_up=self.is_up, version="fake 1")

    def start(self, spec: SandboxSpec) -> None:
        if self.failure is not None:
            raise self.failure
        self.specs.append(spec)
        self.running[spec.sandbox_id] = SandboxStatus.RUNNING

    def destroy(self, sandbox_id: uuid.UUID) -> None:
        self.running.pop(sandbox_id, None)

    def remove_volume(self, volume: str) -> None:
        self.volumes_removed.append(volume)

    def inspect(self, sandbox_id: uuid.UUID) -> SandboxReport:
        status = self.running.get(sandbox_id, SandboxStatus.GONE)
        return SandboxReport(sandbox_id, status, is_out_of_memory=self.is_out_of_memory)

    def list_sandboxes(self) -> list[SandboxReport]:
        return [self.inspect(sandbox_id) for sandbox_id in self.running]

    def read_log(self, sandbox_id: uuid.UUID, *, max_bytes: int = 16_384) -> str:
        return "last words"


@pytest.fixture
def engine(database, monkeypatch) -> FakeDriver:
    """Put an engine in memory behind the worker, on a host with room for four."""
    fake = FakeDriver()
    monkeypatch.setattr(sandbox_jobs, "driver", lambda: fake)
    monkeypatch.setattr(sweeps, "driver", lambda: fake)
    register_host("testhost", driver="fake", slots=4)
    return fake


def dispatched(tenant, **order) -> tuple[Task, Sandbox]:
    task = submit(tenant, **order)
    sandbox_jobs.dispatch_task(DispatchTask())
    task = fresh(task)
    return task, Sandbox.objects.get(id=task.sandbox_id)


def aged(sandbox: Sandbox, seconds: float) -> None:
    moment = now() - timedelta(seconds=seconds)
    Sandbox.objects.filter(id=sandbox.id).update(state_at=moment, link_until=moment)


def test_dispatching_starts_a_container_for_the_next_task(acme, engine):
    task, sandbox = dispatched(acme)
    assert task.status == TaskStatus.STARTING
    (spec,) = engine.specs
    assert spec.sandbox_id == sandbox.id
    assert spec.volume == task.workspace_id.hex
    assert Path(spec.socket_dir).is_dir()


def test_an_ephemeral_workspace_gets_no_volume(acme, engine):
    dispatched(acme, mode="batch")
    assert engine.specs[0].volume is None


def test_a_missing_image_fails_the_task_with_its_reason(acme, engine):
    engine.failure = ImageMissing("The image is not there.")
    task = submit(acme)
    sandbox_jobs.dispatch_task(DispatchTask())
    ended = fresh(task)
    assert (ended.status, ended.error_code) == (TaskStatus.FAILED, "sandbox_image_missing")


def test_an_engine_that_is_away_delays_the_task(acme, engine):
    engine.failure = EngineAway("No engine.")
    task = submit(acme)
    with recorded() as seen:
        sandbox_jobs.dispatch_task(DispatchTask())
    assert fresh(task).status == TaskStatus.QUEUED
    assert seen.jobs[-1].not_before > now()
    assert Sandbox.objects.get().state == SandboxState.FAILED


def test_a_settled_sandbox_waits_idle_for_the_next_turn(acme, engine):
    task, sandbox = dispatched(acme)
    change_state(sandbox.id, SandboxState.BUSY)
    runner = Runner(task, sandbox.id)
    with recorded() as seen:
        runner.store(runner.entry("turn.started"), runner.entry("turn.done", status="succeeded", text=""))
    settle = next(job for job in seen.jobs if job.type == "sandbox.settle")
    job = SettleSandbox.model_validate(settle.payload)
    for _ in range(2):
        sandbox_jobs.settle_sandbox(job)
    assert Sandbox.objects.get(id=sandbox.id).state == SandboxState.IDLE
    again, same = dispatched(acme, workspace_id=task.workspace_id)
    assert same.id == sandbox.id
    # The late repeat of the first task's job must not touch the second task's sandbox.
    sandbox_jobs.settle_sandbox(job)
    assert Sandbox.objects.get(id=sandbox.id).state == SandboxState.BUSY
    assert fresh(again).status == TaskStatus.STARTING


def test_the_sandbox_of_a_batch_task_is_destroyed_with_it(acme, engine):
    task, sandbox = dispatched(acme, mode="batch")
    sandbox_jobs.settle_sandbox(SettleSandbox(sandbox_id=sandbox.id, task_id=task.id, keep=False))
    assert Sandbox.objects.get(id=sandbox.id).state == SandboxState.DESTROYED
    assert engine.running == {}


def test_stopping_a_sandbox_at_work_fails_its_task(acme, engine):
    task, sandbox = dispatched(acme)
    sandbox_jobs.stop_sandbox(StopSandbox(sandbox_id=sandbox.id))
    assert fresh(task).error_code == "sandbox_stopped"
    assert engine.running == {}


def test_a_start_that_never_came_about_is_repeated_elsewhere(acme, engine):
    task, sandbox = dispatched(acme)
    Task.objects.using("operator").update(lease_until=now() - timedelta(seconds=1))
    with recorded() as seen:
        sweeps.sweep_tasks()
    assert fresh(task).status == TaskStatus.QUEUED
    assert "task.dispatch" in seen.job_types
    assert engine.running == {}
    assert Sandbox.objects.get(id=sandbox.id).state == SandboxState.FAILED


def test_a_sandbox_that_is_gone_fails_its_task(acme, engine):
    task, sandbox = dispatched(acme)
    engine.running.clear()
    sweeps.sweep_sandboxes()
    assert fresh(task).status == TaskStatus.STARTING
    aged(sandbox, 60)
    sweeps.sweep_sandboxes()
    assert fresh(task).error_code == "sandbox_lost"


def test_a_sandbox_without_memory_says_so(acme, engine):
    task, sandbox = dispatched(acme)
    engine.running.clear()
    engine.is_out_of_memory = True
    aged(sandbox, 60)
    sweeps.sweep_sandboxes()
    assert fresh(task).error_code == "sandbox_out_of_memory"


def test_a_running_sandbox_whose_link_broke_gets_time_to_reconnect(acme, engine):
    task, sandbox = dispatched(acme)
    aged(sandbox, 60)
    sweeps.sweep_sandboxes()
    assert fresh(task).status == TaskStatus.STARTING
    aged(sandbox, 200)
    sweeps.sweep_sandboxes()
    assert fresh(task).error_code == "sandbox_silent"
    assert engine.running == {}


def test_a_sandbox_that_was_idle_too_long_is_stopped(acme, engine):
    _, sandbox = dispatched(acme)
    change_state(sandbox.id, SandboxState.IDLE)
    sweeps.sweep_sandboxes()
    assert Sandbox.objects.get(id=sandbox.id).state == SandboxState.IDLE
    aged(sandbox, 601)
    sweeps.sweep_sandboxes()
    assert Sandbox.objects.get(id=sandbox.id).state == SandboxState.STOPPED
    assert engine.running == {}
    assert not engine.specs[0].socket_dir.exists()


def test_a_container_that_nobody_holds_is_removed(acme, engine):
    engine.running[uuid.uuid4()] = SandboxStatus.RUNNING
    _, sandbox = dispatched(acme)
    sweeps.sweep_sandboxes()
    assert list(engine.running) == [sandbox.id]


def test_the_volume_of_a_deleted_workspace_is_removed(acme, engine):
    task, sandbox = dispatched(acme)
    cancel_task(acme.owner, task.id)
    sandbox_jobs.stop_sandbox(StopSandbox(sandbox_id=sandbox.id))
    sweeps.sweep_sandboxes()
    assert engine.volumes_removed == []
    delete_workspace(acme.owner, task.workspace_id)
    sweeps.sweep_sandboxes()
    assert engine.volumes_removed == [task.workspace_id.hex]


def test_a_sandbox_taken_for_no_task_is_freed(acme, engine):
    taken = take_sandbox("testhost", wanted(submit(acme)))
    assert taken is not None
    aged(taken.sandbox, 60)
    sweeps.sweep_sandboxes()
    assert Sandbox.objects.get(id=taken.sandbox.id).state == SandboxState.FAILED


def test_a_runner_deaf_to_its_cancel_is_overruled(acme, engine):
    task, _ = dispatched(acme)
    cancel_task(acme.owner, task.id)
    sweeps.sweep_tasks()
    assert fresh(task).status == TaskStatus.STARTING
    Task.objects.using("operator").update(cancel_requested_at=now() - timedelta(seconds=30))
    with recorded() as seen:
        sweeps.sweep_tasks()
    assert fresh(task).status == TaskStatus.CANCELLED
    assert "sandbox.settle" in seen.job_types


def test_an_engine_that_is_away_costs_no_sandbox(acme, engine):
    task, sandbox = dispatched(acme)
    aged(sandbox, 600)
    engine.is_up = False
    sweeps.sweep_sandboxes()
    assert fresh(task).status == TaskStatus.STARTING


def test_the_host_says_what_its_driver_cannot_promise(acme, engine):
    sweeps.sweep_sandboxes()
    host = Host.objects.get(name="testhost")
    assert host.missing_promises == ["memory_limit"]
    assert host.engine_version == "fake 1"


def test_the_next_one_waits_while_the_host_is_full_and_starts_when_there_is_room(acme, engine):
    register_host("testhost", driver="fake", slots=1)
    task, sandbox = dispatched(acme)
    waiting = submit(acme)
    sandbox_jobs.dispatch_task(DispatchTask())
    assert fresh(waiting).status == TaskStatus.QUEUED
    sandbox_jobs.settle_sandbox(SettleSandbox(sandbox_id=sandbox.id, task_id=task.id, keep=False))
    sandbox_jobs.dispatch_task(DispatchTask())
    assert fresh(waiting).status == TaskStatus.STARTING
