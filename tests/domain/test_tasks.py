"""Submitting, cancelling, dispatching and ending tasks."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta

import pytest
from django.db import connections

from conftest import recorded
from services.domain.actors import Actor
from services.domain.errors import (
    AgentMissing,
    Conflict,
    IdempotencyKeyReused,
    LoopStopped,
    PromptInvalid,
    QueueFull,
    RoleMissing,
    ScopeMissing,
    TaskFinished,
    TaskMissing,
    TokenInvalid,
    WorkspaceMissing,
)
from services.domain.identity.models import Organisation
from services.domain.tasks import dispatch
from services.domain.tasks.models import Task, TaskStatus
from services.domain.tasks.passing import MAX_HOPS
from services.domain.tasks.queries import agent_actor, all_tenants_find_task_token
from services.domain.tasks.runner import issue_turn
from services.domain.tasks.submit import TaskOrder, cancel_task, submit_task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import archive_workspace
from services.kit.clock import now
from tests.domain.cast import Runner, fresh, running, start, submit


def test_a_submitted_task_is_queued_with_its_events_and_its_job(acme):
    with recorded() as seen:
        task = submit(acme, "echo hi")
    assert fresh(task).status == TaskStatus.QUEUED
    assert seen.event_types == ["task.queued", "message.created"]
    assert [event.seq for event in seen.events] == [1, 2]
    assert seen.job_types == ["task.dispatch"]


def test_a_prompt_from_a_browsers_form_has_the_line_ends_that_a_shell_reads(acme):
    assert fresh(submit(acme, "echo a\r\necho b\rcho c")).prompt == "echo a\necho b\ncho c"


def test_the_same_idempotency_key_gives_the_same_task(acme):
    order = TaskOrder(agent_id=acme.agent.id, prompt="true")
    first = submit_task(acme.owner, order, source="api", idempotency_key="k1")
    with recorded() as seen:
        assert submit_task(acme.owner, order, source="api", idempotency_key="k1").id == first.id
    assert (seen.events, seen.jobs) == ([], [])


def test_an_idempotency_key_with_another_body_is_refused(acme):
    submit_task(acme.owner, TaskOrder(agent_id=acme.agent.id, prompt="a"), source="api", idempotency_key="k1")
    with pytest.raises(IdempotencyKeyReused):
        submit_task(
            acme.owner, TaskOrder(agent_id=acme.agent.id, prompt="b"), source="api", idempotency_key="k1"
        )


def test_twelve_submissions_at_once_with_one_key_make_one_task(acme):
    order = TaskOrder(agent_id=acme.agent.id, prompt="true")
    made: list[uuid.UUID] = []

    def run() -> None:
        try:
            made.append(submit_task(acme.owner, order, source="api", idempotency_key="once").id)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 12
    assert len(set(made)) == 1


@pytest.mark.parametrize("prompt", ["", "  \n ", "x" * 200_001, "a\x00b"])
def test_an_unusable_prompt_is_refused(acme, prompt):
    with pytest.raises(PromptInvalid):
        submit(acme, prompt)


def test_another_tenants_agent_and_workspace_do_not_exist(acme, globex):
    theirs = submit(acme)
    mallory = globex.owner
    with pytest.raises(AgentMissing):
        submit_task(mallory, TaskOrder(agent_id=acme.agent.id, prompt="true"), source="api")
    with pytest.raises(WorkspaceMissing):
        submit_task(mallory, TaskOrder(workspace_id=theirs.workspace_id, prompt="true"), source="api")
    with pytest.raises(TaskMissing):
        cancel_task(mallory, theirs.id)


def test_a_viewer_and_a_token_without_the_scope_may_not_submit(acme):
    order = TaskOrder(agent_id=acme.agent.id, prompt="true")
    viewer = Actor(org_id=acme.organisation.id, kind="user", role="viewer", user_id=acme.owner.user_id)
    reader = Actor(
        org_id=acme.organisation.id,
        kind="token",
        role="owner",
        user_id=acme.owner.user_id,
        scopes=frozenset({"tasks:read"}),
    )
    for actor in (viewer, reader):
        with pytest.raises((ScopeMissing, RoleMissing)):
            submit_task(actor, order, source="api")


def test_a_full_queue_refuses_and_says_when_to_come_back(acme):
    Organisation.objects.using("operator").filter(id=acme.organisation.id).update(max_queued_tasks=1)
    submit(acme)
    with pytest.raises(QueueFull) as refused:
        submit(acme)
    assert refused.value.retry_after_s


def test_an_archived_workspace_takes_no_work(acme):
    task = submit(acme)
    cancel_task(acme.owner, task.id)
    archive_workspace(acme.owner, task.workspace_id)
    with pytest.raises(Conflict):
        submit(acme, workspace_id=task.workspace_id)


def test_cancelling_a_queued_task_ends_it_at_once(acme):
    task = submit(acme)
    with recorded() as seen:
        cancel_task(acme.owner, task.id)
    assert fresh(task).status == TaskStatus.CANCELLED
    assert seen.event_types == ["task.finished"]
    assert cancel_task(acme.owner, task.id).status == TaskStatus.CANCELLED


def test_cancelling_a_running_task_waits_for_its_runner(acme):
    task, runner = running(acme)
    cancel_task(acme.owner, task.id)
    assert fresh(task).status == TaskStatus.RUNNING
    runner.says("turn.done", status="cancelled", text="")
    assert fresh(task).status == TaskStatus.CANCELLED


def test_cancelling_a_finished_task_is_refused(acme):
    task, runner = running(acme)
    runner.says("turn.done", status="succeeded", text="done")
    with pytest.raises(TaskFinished):
        cancel_task(acme.owner, task.id)


def test_agents_may_pass_work_on_only_so_often(acme):
    task = submit(acme)
    for _ in range(MAX_HOPS):
        task = submit_task(
            agent_actor(fresh(task)), TaskOrder(agent_id=acme.agent.id, prompt="true"), source="agent"
        )
    with pytest.raises(LoopStopped):
        submit_task(
            agent_actor(fresh(task)), TaskOrder(agent_id=acme.agent.id, prompt="true"), source="agent"
        )


def test_two_organisations_are_served_in_turn_however_long_ones_queue_is(acme, globex):
    for _ in range(6):
        submit(acme)
    for _ in range(3):
        submit(globex)
    served = []
    for _ in range(6):
        candidate = dispatch.all_tenants_next_task([])
        assert candidate is not None
        assert dispatch.claim_task(candidate.task, uuid.uuid4()) is not None
        served.append("acme" if candidate.task.org_id == acme.organisation.id else "globex")
    assert sorted(served[:2]) == sorted(served[2:4]) == sorted(served[4:]) == ["acme", "globex"]


def test_a_workspace_works_on_one_task_at_a_time_in_the_order_of_submission(acme):
    first = submit(acme)
    second = submit(acme, workspace_id=first.workspace_id)
    third = submit(acme, workspace_id=first.workspace_id)
    runner = Runner(first, start(first).sandbox.id)
    assert dispatch.all_tenants_next_task([]) is None
    runner.store(runner.entry("turn.started"), runner.entry("turn.done", status="succeeded", text=""))
    following = dispatch.all_tenants_next_task([])
    assert following is not None
    assert following.task.id == second.id != third.id


def test_two_claims_of_one_task_give_it_to_one(acme):
    task = submit(acme)
    assert dispatch.claim_task(task, uuid.uuid4()) is not None
    assert dispatch.claim_task(task, uuid.uuid4()) is None


def test_a_start_that_went_wrong_is_tried_again_and_then_given_up_with_its_reason(acme):
    task = submit(acme)
    for attempt in range(dispatch.MAX_START_ATTEMPTS):
        claimed = dispatch.claim_task(task, uuid.uuid4())
        assert claimed is not None
        assert claimed.attempt == attempt + 1
        assert dispatch.give_back_task(
            task.org_id, task.id, lease_token=claimed.lease_token, reason=("engine_unavailable", "No engine.")
        )
    ended = fresh(task)
    assert (ended.status, ended.error_code) == (TaskStatus.FAILED, "engine_unavailable")


def test_only_the_holder_of_the_lease_gives_a_task_back(acme):
    task = submit(acme)
    dispatch.claim_task(task, uuid.uuid4())
    assert not dispatch.give_back_task(task.org_id, task.id, lease_token=uuid.uuid4(), reason=("x", "y"))
    assert fresh(task).status == TaskStatus.STARTING


def test_a_lost_start_is_found_once_its_lease_is_over(acme):
    task = submit(acme)
    dispatch.claim_task(task, uuid.uuid4())
    assert dispatch.all_tenants_lost_starts() == []
    Task.objects.using("operator").filter(id=task.id).update(lease_until=now() - timedelta(seconds=1))
    assert [stuck.task_id for stuck in dispatch.all_tenants_lost_starts()] == [task.id]


def test_an_overdue_task_expires(acme):
    task, _ = running(acme, timeout_s=5)
    assert not dispatch.expire_task(task.org_id, task.id)
    Task.objects.using("operator").filter(id=task.id).update(deadline_at=now() - timedelta(seconds=60))
    assert [stuck.task_id for stuck in dispatch.all_tenants_overdue(grace=timedelta(seconds=15))] == [task.id]
    assert dispatch.expire_task(task.org_id, task.id)
    assert fresh(task).status == TaskStatus.EXPIRED


def test_a_failure_of_an_earlier_sandbox_leaves_the_task_alone(acme):
    task, runner = running(acme)
    assert not dispatch.fail_task(task.org_id, task.id, uuid.uuid4(), reason=("sandbox_lost", "Gone."))
    assert dispatch.fail_task(task.org_id, task.id, runner.sandbox_id, reason=("sandbox_lost", "Gone."))
    assert fresh(task).error_code == "sandbox_lost"


def test_the_tokens_of_a_turn_work_for_their_audience_and_die_with_the_task(acme):
    task = submit(acme)
    sandbox_id = start(task).sandbox.id
    frame = issue_turn(task.org_id, task.id, sandbox_id)
    assert frame is not None
    token = next(server["token"] for server in frame["mcp"] if server["name"] == "memory")
    assert all_tenants_find_task_token(token, "mcp:memory").task_id == task.id
    for audience in ("mcp:notify", "llm"):
        with pytest.raises(TokenInvalid):
            all_tenants_find_task_token(token, audience)
    runner = Runner(task, sandbox_id)
    runner.store(runner.entry("turn.started"), runner.entry("turn.done", status="succeeded", text=""))
    with pytest.raises(TokenInvalid):
        all_tenants_find_task_token(token, "mcp:memory")


def test_a_turn_that_is_issued_again_revokes_the_tokens_of_the_first(acme):
    task = submit(acme)
    sandbox_id = start(task).sandbox.id
    first = issue_turn(task.org_id, task.id, sandbox_id)
    again = issue_turn(task.org_id, task.id, sandbox_id)
    assert first is not None
    assert again is not None
    with pytest.raises(TokenInvalid):
        all_tenants_find_task_token(first["mcp"][0]["token"], "mcp:memory")
    assert all_tenants_find_task_token(again["mcp"][0]["token"], "mcp:memory")


def test_a_turn_is_issued_only_to_its_own_sandbox(acme):
    task = submit(acme)
    start(task)
    assert issue_turn(task.org_id, task.id, uuid.uuid4()) is None


def test_a_token_is_kept_as_a_hash(acme):
    task = submit(acme)
    frame = issue_turn(task.org_id, task.id, start(task).sandbox.id)
    assert frame is not None
    with tenant_transaction(task.org_id):
        kept = list(Task.objects.get(id=task.id).tokens.values_list("token_hash", flat=True))
    assert all(server["token"] not in kept for server in frame["mcp"])
