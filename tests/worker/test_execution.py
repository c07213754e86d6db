"""What becomes of a job when it fails."""

from __future__ import annotations

import pytest

from conftest import recorded
from services.domain.errors import LeaseLost, PlatformRefused, Temporary
from services.domain.outbox.jobs import DispatchTask, FillPool
from services.domain.outbox.models import DeadJob, OutboxJob
from services.kit.clock import now
from services.worker import execution


def run(monkeypatch, error: Exception | None, *, attempt: int = 0, job=None) -> None:
    job = job or DispatchTask()

    def executor(_: object) -> None:
        if error is not None:
            raise error

    monkeypatch.setitem(execution.EXECUTORS, type(job), executor)
    execution.run_job(job.type, job.model_dump(mode="json"), attempt=attempt, org_id=None)


def test_a_job_that_works_leaves_nothing_behind(acme, monkeypatch):
    with recorded() as seen:
        run(monkeypatch, None)
    assert seen.jobs == []
    assert not DeadJob.objects.using("operator").exists()


def test_a_temporary_error_puts_the_job_back_for_as_long_as_it_says(acme, monkeypatch):
    with recorded() as seen:
        run(monkeypatch, Temporary("busy", retry_after_s=40.0), attempt=2)
    (job,) = seen.jobs
    assert (job.type, job.attempt) == ("task.dispatch", 3)
    assert 35 < (job.not_before - now()).total_seconds() <= 40


def test_delays_grow_from_attempt_to_attempt(acme, monkeypatch):
    delays = []
    for attempt in (0, 3, 6):
        with recorded() as seen:
            run(monkeypatch, Temporary("busy", retry_after_s=0.1), attempt=attempt)
        delays.append((seen.jobs[0].not_before - seen.jobs[0].created_at).total_seconds())
    assert delays == sorted(delays)
    assert delays[-1] > 10 * delays[0]


def test_a_job_that_was_tried_often_enough_is_kept_with_its_reason(acme, monkeypatch):
    with recorded() as seen:
        run(monkeypatch, Temporary("busy", retry_after_s=0.1), attempt=DispatchTask.max_attempts - 1)
    assert seen.jobs == []
    dead = DeadJob.objects.using("operator").get()
    assert (dead.type, dead.attempt) == ("task.dispatch", DispatchTask.max_attempts)
    assert "busy" in dead.error


def test_a_permanent_error_is_not_tried_again(acme, monkeypatch):
    run(monkeypatch, PlatformRefused("The chat is gone."))
    assert "The chat is gone." in DeadJob.objects.using("operator").get().error


def test_a_lost_lease_drops_the_job(acme, monkeypatch):
    with recorded() as seen:
        run(monkeypatch, LeaseLost("Taken over."))
    assert seen.jobs == []
    assert not DeadJob.objects.using("operator").exists()


def test_an_unexpected_error_is_tried_a_few_times_and_then_kept(acme, monkeypatch):
    with recorded() as seen:
        run(monkeypatch, ZeroDivisionError("bug"), attempt=0)
    assert seen.job_types == ["task.dispatch"]
    run(monkeypatch, ZeroDivisionError("bug"), attempt=execution.UNEXPECTED_ATTEMPTS - 1)
    assert "ZeroDivisionError" in DeadJob.objects.using("operator").get().error


def test_a_job_that_is_tried_once_is_forgotten_when_it_fails(acme, monkeypatch):
    job = FillPool()
    run(monkeypatch, Temporary("busy"), job=job)
    assert not DeadJob.objects.using("operator").exists()
    assert not OutboxJob.objects.using("operator").exists()


@pytest.mark.parametrize(("job_type", "payload"), [("made.up", {}), ("sandbox.stop", {"nonsense": 1})])
def test_an_unreadable_job_is_kept_for_an_operator(acme, job_type, payload):
    execution.run_job(job_type, payload, attempt=0, org_id=str(acme.organisation.id))
    dead = DeadJob.objects.using("operator").get()
    assert (dead.type, dead.payload, dead.org_id) == (job_type, payload, acme.organisation.id)
