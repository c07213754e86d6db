"""What the sweeps repair: lost starts, lost sandboxes, idle ones, orphans, overdue tasks."""

from __future__ import annotations

import os
import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from conftest import recorded
from services.domain.errors import EngineAway, ImageMissing
from services.domain.outbox.jobs import DispatchTask, SettleSandbox, StopSandbox
from services.domain.plane.actions import change_state, take_sandbox
from services.domain.plane.hosts import register_host
from services.domain.plane.models import Host, Sandbox, SandboxState, Volume
from services.domain.plane.paths import socket_dir
from services.domain.ports.sandbox import SandboxStatus
from services.domain.tasks.dispatch import MAX_START_ATTEMPTS, fail_task
from services.domain.tasks.models import Task, TaskStatus
from services.domain.tasks.submit import cancel_task
from services.domain.workspaces.actions import delete_workspace
from services.kit.clock import now
from services.kit.environment import environment
from services.worker import sweeps
from services.worker.health import check_sandboxes
from services.worker.jobs import dispatching, sandboxes
from tests.domain.cast import Runner, fresh, submit, wanted
from tests.worker.engines import aged, dispatched, wanted_by


def test_dispatching_starts_a_container_for_the_next_task(acme, engine):
    task, sandbox = dispatched(acme)
    assert task.status == TaskStatus.STARTING
    (spec,) = engine.specs
    assert spec.sandbox_id == sandbox.id
    assert spec.volume == sandbox.volume == sandbox.id.hex
    assert Path(spec.socket_dir).is_dir()


def test_an_ephemeral_workspaces_volume_goes_with_its_sandbox(acme, engine):
    task, sandbox = dispatched(acme, mode="batch")
    assert engine.volumes.keys() == {sandbox.volume}
    dispatching.settle_sandbox(SettleSandbox(sandbox_id=sandbox.id, task_id=task.id, keep=False))
    assert engine.volumes == {}
    assert not Volume.objects.exists()


def test_a_missing_image_fails_the_task_with_its_reason(acme, engine):
    engine.failure = ImageMissing("The image is not there.")
    task = submit(acme)
    dispatching.dispatch_task(DispatchTask())
    ended = fresh(task)
    assert (ended.status, ended.error_code) == (TaskStatus.FAILED, "sandbox_image_missing")


def test_an_engine_that_is_away_delays_the_task(acme, engine):
    engine.failure = EngineAway("No engine.")
    task = submit(acme)
    with recorded() as seen:
        dispatching.dispatch_task(DispatchTask())
    assert fresh(task).status == TaskStatus.QUEUED
    assert seen.jobs[-1].not_before > now()
    assert Sandbox.objects.get().state == SandboxState.FAILED


def test_the_socket_folder_of_a_start_that_failed_is_removed_and_no_other(acme, engine):
    engine.failure = EngineAway("No engine.")
    submit(acme)
    dispatching.dispatch_task(DispatchTask())
    failed = Sandbox.objects.get()
    engine.failure = None
    dispatching._rest.note_answer()
    _, live = dispatched(acme)
    folders = {row.id: socket_dir(environment().run_dir, row.id) for row in (failed, live)}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    check_sandboxes()
    assert folders[failed.id].is_dir()
    for folder in folders.values():
        os.utime(folder, (0, 0))
    check_sandboxes()
    assert [folder.is_dir() for folder in folders.values()] == [False, True]


def test_a_settled_sandbox_waits_idle_for_the_next_turn(acme, engine):
    task, sandbox = dispatched(acme)
    change_state(sandbox.id, SandboxState.BUSY)
    runner = Runner(task, sandbox.id)
    with recorded() as seen:
        runner.store(runner.entry("turn.started"), runner.entry("turn.done", status="succeeded", text=""))
    settle = next(job for job in seen.jobs if job.type == "sandbox.settle")
    job = SettleSandbox.model_validate(settle.payload)
    for _ in range(2):
        dispatching.settle_sandbox(job)
    assert Sandbox.objects.get(id=sandbox.id).state == SandboxState.IDLE
    again, same = dispatched(acme, workspace_id=task.workspace_id)
    assert same.id == sandbox.id
    # The late repeat of the first task's job must not touch the second task's sandbox.
    dispatching.settle_sandbox(job)
    assert Sandbox.objects.get(id=sandbox.id).state == SandboxState.BUSY
    assert fresh(again).status == TaskStatus.STARTING


def test_the_sandbox_of_a_batch_task_is_destroyed_with_it(acme, engine):
    task, sandbox = dispatched(acme, mode="batch")
    dispatching.settle_sandbox(SettleSandbox(sandbox_id=sandbox.id, task_id=task.id, keep=False))
    assert Sandbox.objects.get(id=sandbox.id).state == SandboxState.DESTROYED
    assert engine.running == {}


def test_stopping_a_sandbox_at_work_fails_its_task(acme, engine):
    task, sandbox = dispatched(acme)
    sandboxes.stop_sandbox(StopSandbox(sandbox_id=sandbox.id))
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


@pytest.mark.parametrize("is_made", [False, True])
def test_a_task_whose_container_never_ran_is_started_again_within_limits(acme, engine, is_made):
    task, sandbox = dispatched(acme)
    engine.running = {sandbox.id: SandboxStatus.STOPPED} if is_made else {}
    sweeps.sweep_sandboxes()
    # Its container may not be there yet.
    assert fresh(task).status == TaskStatus.STARTING
    aged(sandbox, 60)
    sweeps.sweep_sandboxes()
    assert fresh(task).status == TaskStatus.QUEUED
    assert Sandbox.objects.get(id=sandbox.id).state == SandboxState.FAILED
    Task.objects.using("operator").filter(id=task.id).update(attempt=MAX_START_ATTEMPTS - 1)
    dispatching.dispatch_task(DispatchTask())
    engine.running.clear()
    aged(Sandbox.objects.get(task_id=task.id, state=SandboxState.CREATING), 60)
    sweeps.sweep_sandboxes()
    assert (fresh(task).status, fresh(task).error_code) == (TaskStatus.FAILED, "sandbox_lost")


def test_a_sandbox_at_work_that_is_gone_is_noticed_without_a_grace(acme, engine):
    task, sandbox = dispatched(acme)
    change_state(sandbox.id, SandboxState.BUSY)
    engine.running.clear()
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


def test_the_sandbox_of_a_deleted_workspace_is_removed_even_if_its_job_is_lost(acme, engine):
    task, sandbox = dispatched(acme)
    fail_task(task.org_id, task.id, sandbox.id, reason=("lost", "Lost."))
    change_state(sandbox.id, SandboxState.IDLE)
    delete_workspace(acme.owner, task.workspace_id)
    sweeps.sweep_sandboxes()
    assert engine.running == {}
    assert Sandbox.objects.get(id=sandbox.id).state == SandboxState.FAILED


def test_a_sandbox_whose_task_was_never_claimed_for_it_is_freed(acme, engine):
    task, sandbox = dispatched(acme)
    change_state(sandbox.id, SandboxState.IDLE)
    fail_task(task.org_id, task.id, sandbox.id, reason=("lost", "Lost."))
    waiting = submit(acme, workspace_id=task.workspace_id)
    # The dispatcher died between the two databases: the link is open, the task is queued still.
    assert take_sandbox("testhost", wanted_by(waiting)) is not None
    Sandbox.objects.update(state_at=now() - timedelta(seconds=30), link_until=now() + timedelta(seconds=30))
    sweeps.sweep_sandboxes()
    assert engine.running == {}
    dispatching.dispatch_task(DispatchTask())
    assert fresh(waiting).status == TaskStatus.STARTING


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
    dispatching.dispatch_task(DispatchTask())
    assert fresh(waiting).status == TaskStatus.QUEUED
    dispatching.settle_sandbox(SettleSandbox(sandbox_id=sandbox.id, task_id=task.id, keep=False))
    dispatching.dispatch_task(DispatchTask())
    assert fresh(waiting).status == TaskStatus.STARTING
