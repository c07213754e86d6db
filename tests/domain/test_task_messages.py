"""Follow-up messages: kept, delivered until they are consumed, acknowledged when the turn that took them ends."""

from __future__ import annotations

import uuid

import pytest

from conftest import recorded
from services.domain.actors import Actor
from services.domain.errors import (
    IdempotencyKeyReused,
    PromptInvalid,
    QueueFull,
    ScopeMissing,
    TaskFinished,
    TaskMissing,
    Temporary,
)
from services.domain.identity.models import Organisation
from services.domain.tasks import messages
from services.domain.tasks.messages import send_message, submit_left_messages
from services.domain.tasks.models import MessageState, Task, TaskMessage
from services.domain.tasks.runner import all_tenants_link_work
from services.domain.tasks.submit import cancel_task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import archive_workspace
from tests.domain.cast import running, start, submit


def waiting(task: Task) -> list[str]:
    """Return what the gateway would tell the task's runner."""
    return [text for _, text in all_tenants_link_work([task.id])[task.id].messages]


def read(message: TaskMessage) -> TaskMessage:
    with tenant_transaction(message.org_id):
        return TaskMessage.objects.get(id=message.id)


def test_a_message_is_kept_shown_and_handed_to_the_runner_until_it_is_consumed(acme):
    task, runner = running(acme)
    with recorded() as seen:
        message = send_message(acme.owner, task.id, "and\r\nthis")
    (event,) = seen.events
    assert (event.type, event.task_id) == ("message.created", task.id)
    assert event.data == {"role": "user", "text": "and\nthis", "id": str(message.id)}
    assert waiting(task) == ["and\nthis"]
    runner.says("message.consumed", id=str(message.id))
    assert waiting(task) == []
    assert read(message).state == MessageState.CONSUMED


def test_a_consumed_message_is_acknowledged_when_its_turn_ends(acme):
    task, runner = running(acme)
    message = send_message(acme.owner, task.id, "more")
    runner.says("message.consumed", id=str(message.id))
    with recorded() as seen:
        runner.says("turn.done", status="failed", error={"code": "model_error", "message": "m"})
    assert seen.event_types == ["turn.done", "task.finished", "message.settled"]
    assert seen.events[-1].data["state"] == "taken"
    assert "task.follow_up" not in seen.job_types


def test_what_a_turn_did_not_take_becomes_the_next_once(acme):
    task, runner = running(acme)
    sent = [send_message(acme.owner, task.id, text) for text in ("one", "two")]
    with recorded() as seen:
        runner.says("turn.done", status="succeeded", text="done")
    assert "task.follow_up" in seen.job_types
    with recorded() as seen:
        (following,) = submit_left_messages(task.org_id, task.id)
        assert submit_left_messages(task.org_id, task.id) == []
    assert (following.prompt, following.workspace_id) == ("one\n\ntwo", task.workspace_id)
    assert (following.user_id, following.turn) == (acme.owner.user_id, 2)
    assert seen.event_types == ["task.queued", "message.created", "message.settled", "message.settled"]
    assert {read(message).moved_to_id for message in sent} == {following.id}


def test_messages_too_long_for_one_prompt_become_several_tasks_in_order(acme, monkeypatch):
    task, runner = running(acme)
    for text in ("a" * 60, "b" * 60, "c" * 30):
        send_message(acme.owner, task.id, text)
    runner.says("turn.done", status="succeeded", text="done")
    monkeypatch.setattr(messages, "MAX_PROMPT_CHARS", 100)
    assert [task.prompt[0] for task in submit_left_messages(task.org_id, task.id)] == ["a", "b"]


def test_a_message_to_a_queued_task_is_delivered_when_its_turn_starts(acme):
    task = submit(acme)
    send_message(acme.owner, task.id, "early")
    assert all_tenants_link_work([task.id]) == {}
    start(task)
    assert waiting(task) == ["early"]


def test_cancelling_drops_what_waits_and_says_so(acme):
    task = submit(acme)
    message = send_message(acme.owner, task.id, "more")
    with recorded() as seen:
        cancel_task(acme.owner, task.id)
    assert read(message).state == MessageState.DROPPED
    assert seen.events[-1].data == {
        "id": str(message.id),
        "state": "dropped",
        "reason": "cancelled",
    }


def test_what_is_left_in_an_archived_workspace_is_dropped_with_the_reason(acme):
    task, runner = running(acme)
    message = send_message(acme.owner, task.id, "more")
    runner.says("turn.done", status="succeeded", text="done")
    archive_workspace(acme.owner, task.workspace_id)
    with recorded() as seen:
        assert submit_left_messages(task.org_id, task.id) == []
    assert read(message).state == MessageState.DROPPED
    assert seen.events[-1].data["reason"] == "workspace_archived"


def test_a_full_queue_is_tried_again_and_loses_nothing(acme):
    task, runner = running(acme)
    message = send_message(acme.owner, task.id, "more")
    runner.says("turn.done", status="succeeded", text="done")
    with tenant_transaction(acme.owner.org_id):
        Organisation.objects.update(max_queued_tasks=0)
    with pytest.raises(Temporary):
        submit_left_messages(task.org_id, task.id)
    assert read(message).state == MessageState.WAITING


def test_a_message_to_a_task_that_has_ended_is_refused(acme):
    task, runner = running(acme)
    runner.says("turn.done", status="succeeded", text="done")
    with recorded() as seen, pytest.raises(TaskFinished):
        send_message(acme.owner, task.id, "late")
    assert (seen.events, seen.jobs) == ([], [])


def test_the_same_key_gives_the_same_message_also_after_the_end(acme):
    task, runner = running(acme)
    first = send_message(acme.owner, task.id, "once", idempotency_key="k")
    runner.says("turn.done", status="succeeded", text="done")
    assert send_message(acme.owner, task.id, "once", idempotency_key="k").id == first.id
    with pytest.raises(IdempotencyKeyReused):
        send_message(acme.owner, task.id, "twice", idempotency_key="k")


@pytest.mark.parametrize("text", ["", " \n", "a\x00b", "x" * 200_001])
def test_a_message_that_no_prompt_could_be_is_refused(acme, text):
    task, _ = running(acme)
    with pytest.raises(PromptInvalid):
        send_message(acme.owner, task.id, text)


def test_a_task_takes_so_many_messages_and_no_more(acme, monkeypatch):
    monkeypatch.setattr(messages, "MAX_WAITING", 2)
    task = submit(acme)
    for _ in range(2):
        send_message(acme.owner, task.id, "more")
    with pytest.raises(QueueFull):
        send_message(acme.owner, task.id, "too much")


def test_a_viewer_and_another_tenant_may_not(acme, globex):
    task, _ = running(acme)
    message = send_message(acme.owner, task.id, "mine")
    with pytest.raises(TaskMissing):
        send_message(globex.owner, task.id, "hers")
    viewer = Actor(org_id=acme.owner.org_id, kind="user", role="viewer", user_id=uuid.uuid4())
    with pytest.raises(ScopeMissing):
        send_message(viewer, task.id, "his")
    _, other = running(globex)
    for name in (str(message.id), "no id"):
        other.says("message.consumed", id=name)
    assert waiting(task) == ["mine"]
