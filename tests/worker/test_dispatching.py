"""Rounds of dispatching: one serves all who wait, wishes are not lost, work goes to the host that has its place."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from conftest import recorded
from services.domain.chats.actions import create_link
from services.domain.chats.models import Chat
from services.domain.errors import EngineAway
from services.domain.outbox.jobs import DispatchTask, StartTask
from services.domain.plane.hosts import register_host
from services.domain.plane.models import Sandbox, Volume
from services.domain.tasks import dispatch
from services.domain.tasks.models import Task, TaskStatus
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.worker import leases
from services.worker.engine_rest import FIRST_PAUSE_S, EngineRest
from services.worker.jobs import dispatching
from services.worker.rounds import Rounds
from tests.domain.cast import fresh, submit
from tests.fakes.sandbox_driver import FakeDriver
from tests.worker.engines import wanted_by


def test_one_job_serves_all_who_wait_and_stops_when_there_is_no_room(acme, globex, engine: FakeDriver):
    tasks = [submit(tenant) for tenant in (acme, globex) for _ in range(3)]
    dispatching.dispatch_task(DispatchTask())
    started = [task for task in tasks if fresh(task).status == TaskStatus.STARTING]
    assert len(started) == len(engine.running) == 4
    assert {task.org_id for task in started[:2]} | {task.org_id for task in started[2:]} == {
        acme.organisation.id,
        globex.organisation.id,
    }


def test_who_is_heard_of_at_once_is_served_as_by_the_job(acme, engine: FakeDriver):
    task = submit(acme)
    dispatching.dispatch_at_once()
    dispatching.dispatch_task(DispatchTask())
    assert fresh(task).status == TaskStatus.STARTING
    assert Sandbox.objects.count() == 1


def test_a_wish_that_comes_during_a_round_brings_another_one(acme):
    rounds, done, entered, go_on = Rounds(), [], threading.Event(), threading.Event()

    def work() -> None:
        done.append(1)
        entered.set()
        assert go_on.wait(20)

    thread = threading.Thread(target=rounds.run, args=(work,))
    thread.start()
    assert entered.wait(20)
    rounds.run(work)
    rounds.run(work)
    assert len(done) == 1
    go_on.set()
    thread.join(20)
    assert len(done) == 2


def test_a_task_whose_files_are_elsewhere_is_started_there_and_passed_on_once(acme, engine: FakeDriver):
    other = register_host("otherhost", driver="fake", slots=4)
    task = submit(acme)
    Volume.objects.create(
        workspace_id=task.workspace_id, org_id=task.org_id, host=other, name="v", disk_bytes=1
    )
    with recorded() as seen:
        dispatching.dispatch_task(DispatchTask())
    assert fresh(task).status == TaskStatus.QUEUED
    assert [(job.type, job.queue) for job in seen.jobs] == [("task.start", "host.otherhost")]
    job = StartTask.model_validate(seen.jobs[0].payload)
    Volume.objects.update(host="testhost")
    with recorded() as seen:
        for _ in range(2):
            dispatching.start_task(job)
    assert fresh(task).status == TaskStatus.STARTING
    assert seen.job_types == []
    assert len(engine.running) == 1


def test_a_start_that_takes_its_time_keeps_its_lease(acme, engine: FakeDriver, monkeypatch):
    monkeypatch.setattr(leases, "_EVERY_S", 0.05)
    task = submit(acme)

    def is_renewed() -> bool:
        lease = Task.objects.using("operator").values_list("lease_until", flat=True).get(id=task.id)
        return lease > now() + dispatch.START_LEASE / 2

    def start_slowly(_spec: object) -> None:
        Task.objects.using("operator").filter(id=task.id).update(lease_until=now() + timedelta(seconds=1))
        waiting = threading.Event()
        for _ in range(2_000):
            if is_renewed():
                return
            waiting.wait(0.01)
        raise AssertionError("the lease was not renewed")

    engine.on_start = start_slowly
    dispatching.dispatch_task(DispatchTask())
    assert is_renewed()


def test_an_engine_that_does_not_answer_is_left_alone_and_costs_one_try(acme, engine: FakeDriver):
    task, rest = submit(acme), dispatching._rest
    engine.failure = EngineAway("No engine.")
    dispatching.dispatch_task(DispatchTask())
    assert (fresh(task).status, fresh(task).attempt) == (TaskStatus.QUEUED, 1)
    assert 0 < rest.left_s <= FIRST_PAUSE_S
    engine.failure = None
    dispatching.dispatch_task(DispatchTask())
    assert (fresh(task).status, fresh(task).attempt) == (TaskStatus.QUEUED, 1)
    rest.note_answer()
    dispatching.dispatch_task(DispatchTask())
    assert fresh(task).status == TaskStatus.STARTING


def test_an_engine_is_left_alone_for_longer_each_time_it_fails_again(monkeypatch):
    moment = [100.0]
    monkeypatch.setattr("services.worker.engine_rest.time.monotonic", lambda: moment[0])
    rest, pauses = EngineRest(), []
    for _ in range(6):
        pauses.append(rest.note_away())
        assert rest.note_away() == pauses[-1]
        moment[0] += pauses[-1]
    assert pauses == [1, 2, 4, 8, 15, 15]
    rest.note_answer()
    assert rest.note_away() == FIRST_PAUSE_S


@pytest.mark.parametrize(
    ("mode", "is_delivered", "keeps"),
    [("session", False, True), ("batch", False, False), ("batch", True, True)],
)
def test_files_are_kept_of_what_somebody_may_go_on_with(acme, engine: FakeDriver, mode, is_delivered, keeps):
    link = create_link(acme.owner, kind="telegram", name="Bot", config={"bot_token": "1:x"})
    with tenant_transaction(acme.organisation.id):
        place = Chat.objects.create(
            org_id=acme.organisation.id, link=link, platform_chat_id="7", kind="direct"
        )
    told = {"chat_id": str(place.id)} if is_delivered else None
    assert wanted_by(submit(acme, mode=mode, deliver_to=told)).is_persistent is keeps
