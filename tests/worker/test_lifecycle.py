"""How a sandbox comes to rest and wakes again, on an engine in memory."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from conftest import Tenant, recorded
from services.domain.errors import Temporary, WorkspaceBusy, WorkspaceNotRunning
from services.domain.outbox.jobs import PauseSandbox, SettleSandbox, StopSandbox, WakeSandbox
from services.domain.plane.actions import change_state, hold_sandboxes, note_linked, renew_links
from services.domain.plane.hosts import register_host
from services.domain.plane.models import Sandbox, SandboxState, Volume
from services.domain.plane.queries import find_live_sandbox
from services.domain.ports.sandbox import SandboxStatus
from services.domain.tasks.dispatch import fail_task
from services.domain.tasks.models import Task, TaskStatus
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import archive_workspace, delete_workspace, restore_workspace
from services.domain.workspaces.models import Workspace
from services.domain.workspaces.waking import pause_workspace, stop_workspace, wake_workspace
from services.kit.clock import now
from services.worker import health, sweeps
from services.worker.jobs import dispatching, sandboxes
from tests.domain.cast import fresh
from tests.fakes.sandbox_driver import FakeDriver
from tests.worker.engines import aged, dispatched


def at_rest(tenant: Tenant) -> tuple[Task, Sandbox]:
    """Give a task that has ended and its sandbox, which waits for the next message."""
    task, sandbox = dispatched(tenant)
    fail_task(task.org_id, task.id, sandbox.id, reason=("lost", "Lost."))
    note_linked(sandbox.id)
    dispatching.settle_sandbox(SettleSandbox(sandbox_id=sandbox.id, task_id=task.id, keep=True))
    return task, Sandbox.objects.get(id=sandbox.id)


def state_of(sandbox: Sandbox) -> str:
    return str(Sandbox.objects.get(id=sandbox.id).state)


def shown_state(task: Task) -> str:
    with tenant_transaction(task.org_id):
        return str(Workspace.objects.get(id=task.workspace_id).sandbox_state)


def test_an_idle_sandbox_is_paused_then_stopped_and_its_files_stay(acme, engine: FakeDriver):
    task, sandbox = at_rest(acme)
    sweeps.sweep_sandboxes()
    assert state_of(sandbox) == SandboxState.IDLE
    aged(sandbox, 121)
    with recorded() as seen:
        sweeps.sweep_sandboxes()
    assert (state_of(sandbox), engine.running[sandbox.id]) == ("paused", SandboxStatus.PAUSED)
    assert [event.data["state"] for event in seen.events] == ["paused"]
    aged(sandbox, 601)
    with recorded() as seen:
        sweeps.sweep_sandboxes()
    assert (state_of(sandbox), engine.running) == ("stopped", {})
    assert [event.data["state"] for event in seen.events] == ["stopped"]
    assert engine.volumes.keys() == {Volume.objects.get(workspace_id=task.workspace_id).name}


def test_an_idle_sandbox_runs_on_where_the_engine_cannot_pause(acme, engine: FakeDriver, monkeypatch):
    monkeypatch.setattr(FakeDriver, "can_pause", False)
    _, sandbox = at_rest(acme)
    aged(sandbox, 121)
    renew_links([sandbox.id])
    sweeps.sweep_sandboxes()
    assert (state_of(sandbox), engine.running[sandbox.id]) == ("idle", SandboxStatus.RUNNING)


def test_a_paused_sandbox_is_not_taken_for_silent(acme, engine: FakeDriver):
    _, sandbox = at_rest(acme)
    sandboxes.pause_sandbox(PauseSandbox(sandbox_id=sandbox.id))
    Sandbox.objects.update(link_until=now() - timedelta(hours=1), state_at=now() - timedelta(hours=1))
    sweeps.sweep_sandboxes()
    assert state_of(sandbox) == SandboxState.PAUSED


def test_what_a_person_holds_is_not_idle(acme, engine: FakeDriver):
    _, sandbox = at_rest(acme)
    Sandbox.objects.update(used_at=now() - timedelta(seconds=601))
    hold_sandboxes([sandbox.id])
    sweeps.sweep_sandboxes()
    assert state_of(sandbox) == SandboxState.IDLE


def test_a_message_wakes_a_paused_sandbox(acme, engine: FakeDriver):
    task, sandbox = at_rest(acme)
    sandboxes.pause_sandbox(PauseSandbox(sandbox_id=sandbox.id))
    again, same = dispatched(acme, workspace_id=task.workspace_id)
    assert same.id == sandbox.id
    assert (state_of(sandbox), engine.running[sandbox.id]) == ("busy", SandboxStatus.RUNNING)
    assert fresh(again).status == TaskStatus.STARTING
    assert shown_state(task) == "busy"


def test_a_message_starts_a_stopped_sandbox_with_its_files(acme, engine: FakeDriver):
    task, sandbox = at_rest(acme)
    sandboxes.stop_sandbox(StopSandbox(sandbox_id=sandbox.id))
    assert state_of(sandbox) == SandboxState.STOPPED
    _, started = dispatched(acme, workspace_id=task.workspace_id)
    assert started.id != sandbox.id
    assert engine.specs[-1].volume == sandbox.volume
    assert state_of(sandbox) == SandboxState.DESTROYED


@pytest.mark.parametrize("state", ["paused", "stopped", "none"])
def test_a_person_wakes_a_sandbox_from_any_state_without_a_task(acme, engine: FakeDriver, state):
    task, sandbox = at_rest(acme)
    if state == "paused":
        sandboxes.pause_sandbox(PauseSandbox(sandbox_id=sandbox.id))
    elif state == "stopped":
        sandboxes.stop_sandbox(StopSandbox(sandbox_id=sandbox.id))
    else:
        Sandbox.objects.all().delete()
        Volume.objects.all().delete()
    with recorded() as seen:
        wake_workspace(acme.owner, task.workspace_id)
        assert state == "paused" or seen.job_types == []
    (job,) = [job for job in seen.jobs if job.type == "sandbox.wake"]
    for _ in range(2):
        dispatching.wake_sandbox(WakeSandbox.model_validate(job.payload))
    woken = Sandbox.objects.get(workspace_id=task.workspace_id, state__in=["creating", "idle"])
    note_linked(woken.id)
    live = find_live_sandbox(task.workspace_id)
    assert live is not None
    assert (live.state, live.task_id) == ("idle", None)
    assert engine.running[live.id] == SandboxStatus.RUNNING
    assert shown_state(task) == "idle"


def test_a_task_that_comes_while_a_sandbox_wakes_gets_that_one(acme, engine: FakeDriver):
    task, sandbox = at_rest(acme)
    sandboxes.stop_sandbox(StopSandbox(sandbox_id=sandbox.id))
    dispatching.wake_sandbox(WakeSandbox(org_id=task.org_id, workspace_id=task.workspace_id))
    again, woken = dispatched(acme, workspace_id=task.workspace_id)
    assert (woken.state, woken.task_id) == ("creating", again.id)
    note_linked(woken.id)
    assert state_of(woken) == SandboxState.CREATING
    assert len(engine.running) == 1


def test_waking_waits_while_no_host_has_room(acme, engine: FakeDriver):
    task, sandbox = at_rest(acme)
    sandboxes.stop_sandbox(StopSandbox(sandbox_id=sandbox.id))
    register_host("testhost", driver="fake", slots=1)
    dispatched(acme)
    with pytest.raises(Temporary):
        dispatching.wake_sandbox(WakeSandbox(org_id=task.org_id, workspace_id=task.workspace_id))


def test_pausing_is_refused_at_work_and_without_a_sandbox(acme, engine: FakeDriver):
    task, sandbox = dispatched(acme)
    for act in (pause_workspace, stop_workspace):
        with pytest.raises(WorkspaceBusy):
            act(acme.owner, task.workspace_id)
    fail_task(task.org_id, task.id, sandbox.id, reason=("lost", "Lost."))
    sandboxes.destroy(sandbox)
    with pytest.raises(WorkspaceNotRunning):
        pause_workspace(acme.owner, task.workspace_id)
    assert stop_workspace(acme.owner, task.workspace_id).id == task.workspace_id


def test_pausing_right_after_a_turn_waits_until_it_is_settled(acme, engine: FakeDriver):
    task, sandbox = dispatched(acme)
    change_state(sandbox.id, SandboxState.BUSY)
    fail_task(task.org_id, task.id, sandbox.id, reason=("lost", "Lost."))
    with recorded() as seen:
        pause_workspace(acme.owner, task.workspace_id)
    job = PauseSandbox.model_validate(seen.jobs[-1].payload)
    with pytest.raises(Temporary):
        sandboxes.pause_sandbox(job)
    dispatching.settle_sandbox(SettleSandbox(sandbox_id=sandbox.id, task_id=task.id, keep=True))
    sandboxes.pause_sandbox(job)
    assert state_of(sandbox) == SandboxState.PAUSED


def test_a_stop_that_comes_after_the_next_message_leaves_it_alone(acme, engine: FakeDriver):
    task, sandbox = at_rest(acme)
    with recorded() as seen:
        stop_workspace(acme.owner, task.workspace_id)
    again, _ = dispatched(acme, workspace_id=task.workspace_id)
    sandboxes.stop_sandbox(StopSandbox.model_validate(seen.jobs[-1].payload))
    assert fresh(again).status == TaskStatus.STARTING
    assert engine.running[sandbox.id] == SandboxStatus.RUNNING


def test_archiving_stops_the_sandbox_and_restoring_opens_the_workspace_again(acme, engine: FakeDriver):
    task, sandbox = at_rest(acme)
    with recorded() as seen:
        archive_workspace(acme.owner, task.workspace_id)
    assert seen.job_types == ["sandbox.stop", "volume.archive"]
    sandboxes.stop_sandbox(StopSandbox.model_validate(seen.jobs[0].payload))
    assert state_of(sandbox) == SandboxState.STOPPED
    assert restore_workspace(acme.owner, task.workspace_id).archived_at is None
    _, started = dispatched(acme, workspace_id=task.workspace_id)
    assert started.volume == sandbox.volume


@pytest.mark.parametrize("state", ["idle", "paused", "stopped"])
def test_a_workspace_is_deleted_in_every_state(acme, engine: FakeDriver, state):
    task, sandbox = at_rest(acme)
    if state == "paused":
        sandboxes.pause_sandbox(PauseSandbox(sandbox_id=sandbox.id))
    elif state == "stopped":
        sandboxes.stop_sandbox(StopSandbox(sandbox_id=sandbox.id))
    with recorded() as seen:
        delete_workspace(acme.owner, task.workspace_id)
    for job in seen.jobs:
        sandboxes.stop_sandbox(StopSandbox.model_validate(job.payload))
    assert engine.running == {}
    assert state_of(sandbox) == SandboxState.STOPPED


def test_what_a_worker_left_half_done_is_put_right(acme, engine: FakeDriver):
    _, paused = at_rest(acme)
    change_state(paused.id, SandboxState.PAUSED)
    _, busy = dispatched(acme)
    change_state(busy.id, SandboxState.BUSY)
    engine.running[busy.id] = SandboxStatus.PAUSED
    sweeps.sweep_sandboxes()
    assert engine.running == {paused.id: SandboxStatus.PAUSED, busy.id: SandboxStatus.RUNNING}


@pytest.mark.parametrize(
    ("exit_code", "is_out_of_memory", "code"),
    [(137, True, "sandbox_out_of_memory"), (137, False, "sandbox_killed"), (1, False, "sandbox_lost")],
)
def test_an_end_is_noticed_at_once_with_its_reason_and_last_words(
    acme, engine: FakeDriver, exit_code, is_out_of_memory, code
):
    task, sandbox = dispatched(acme)
    change_state(sandbox.id, SandboxState.BUSY)
    engine.end(sandbox.id, exit_code=exit_code, is_out_of_memory=is_out_of_memory)
    health.watch_engine(threading.Event())
    ended = fresh(task)
    assert (ended.status, ended.error_code) == (TaskStatus.FAILED, code)
    assert ended.error_message.endswith("last words")
    assert state_of(sandbox) == SandboxState.FAILED
    assert engine.running == {}
