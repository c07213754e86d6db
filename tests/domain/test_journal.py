"""The runner's journal: stored once each, in order, whatever is sent again or comes late."""

from __future__ import annotations

import random
import uuid

import pytest

from conftest import recorded
from services.domain.events.log import list_events, to_envelope
from services.domain.tasks.models import TaskStatus
from services.domain.tasks.runner import JournalGap, issue_turn
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.queries import get_session
from tests.domain.cast import Runner, fresh, running, start, submit


def envelopes(task):
    with tenant_transaction(task.org_id):
        return [
            to_envelope(event) for event in list_events(f"workspace:{task.workspace_id}", after=0, limit=1000)
        ]


def test_a_turn_from_start_to_end_makes_its_events_in_order(acme):
    task, runner = running(acme, prompt="echo hi")
    runner.says("tool.called", call_id="c1", name="Bash", input={"command": "echo hi"})
    runner.says("tool.returned", call_id="c1", output="hi\n", is_error=False, duration_ms=3)
    runner.says("turn.done", status="succeeded", text="hi", turns=1, tool_calls=1)
    assert [(event["seq"], event["type"]) for event in envelopes(task)] == [
        (1, "task.queued"),
        (2, "message.created"),
        (3, "task.started"),
        (4, "turn.started"),
        (5, "tool.called"),
        (6, "tool.returned"),
        (7, "turn.done"),
        (8, "task.finished"),
    ]
    ended = fresh(task)
    assert (ended.status, ended.result_text, ended.tool_calls) == (TaskStatus.SUCCEEDED, "hi", 1)


def test_entries_sent_again_are_stored_once(acme):
    task, runner = running(acme)
    entries = [runner.entry("message.created", role="assistant", text=str(number)) for number in range(20)]
    for _ in range(15):
        cut = random.Random(7).randrange(20)
        runner.store(*entries[: cut + 1])
    assert runner.store(*entries) == 21
    texts = [event["data"]["text"] for event in envelopes(task) if event["data"].get("role") == "assistant"]
    assert texts == [str(number) for number in range(20)]


def test_a_gap_in_the_journal_stores_nothing(acme):
    _, runner = running(acme)
    first, _, third = (runner.entry("message.created", role="assistant", text=text) for text in "abc")
    with recorded() as seen, pytest.raises(JournalGap):
        runner.store(first, third)
    assert seen.events == []


def test_an_ended_turn_says_no_more(acme):
    task, runner = running(acme)
    runner.says("turn.done", status="succeeded", text="done")
    with recorded() as seen:
        runner.says("message.created", role="assistant", text="too late")
        runner.says("turn.done", status="failed", text="")
    assert seen.events == []
    assert fresh(task).status == TaskStatus.SUCCEEDED


def test_another_sandbox_cannot_speak_for_a_task(acme):
    task, _ = running(acme)
    stranger = Runner(task, uuid.uuid4())
    with recorded() as seen:
        stranger.says("turn.done", status="succeeded", text="forged")
    assert seen.events == []
    assert fresh(task).status == TaskStatus.RUNNING


def test_another_tenants_sandbox_cannot_speak_for_a_task(acme, globex):
    from services.domain.tasks.runner import JournalEntry, store_journal

    task, runner = running(acme)
    entry = JournalEntry(n=1, turn=task.id, type="turn.done", data={"status": "succeeded", "text": "forged"})
    store_journal(globex.organisation.id, runner.sandbox_id, uuid.uuid4(), [entry])
    assert fresh(task).status == TaskStatus.RUNNING


def test_an_unreadable_entry_is_passed_over_and_an_unreadable_end_fails_the_task(acme):
    task, runner = running(acme)
    runner.says("tool.called", nonsense=True)
    runner.says("made.up", text="?")
    assert fresh(task).status == TaskStatus.RUNNING
    runner.says("turn.done", status="splendid")
    ended = fresh(task)
    assert (ended.status, ended.error_code) == (TaskStatus.FAILED, "runner_protocol")


def test_a_providers_session_is_handed_to_the_next_turn(acme):
    task, runner = running(acme)
    runner.says("session.saved", session_id="s1", entries=[{"a": 1}, {"a": 2}])
    runner.says("session.saved", session_id="s1", entries=[{"a": 3}])
    runner.says("turn.done", status="succeeded", text="")
    with tenant_transaction(task.org_id):
        assert get_session(task.workspace_id) == ("s1", [{"a": 1}, {"a": 2}, {"a": 3}])
    assert "session.saved" not in [event["type"] for event in envelopes(task)]


def test_the_next_turn_carries_the_session(acme):
    task, runner = running(acme)
    runner.says("session.saved", session_id="s1", entries=[{"a": 1}])
    runner.says("turn.done", status="succeeded", text="")
    following = submit(acme, workspace_id=task.workspace_id)
    from services.domain.plane.actions import change_state
    from services.domain.plane.models import SandboxState

    change_state(runner.sandbox_id, SandboxState.DESTROYED)
    frame = issue_turn(following.org_id, following.id, start(following).sandbox.id)
    assert frame is not None
    assert frame["session"] == {"id": "s1", "entries": [{"a": 1}]}


def test_what_the_database_cannot_hold_is_replaced_and_loses_nothing_else(acme):
    task, runner = running(acme)
    runner.says("tool.called", call_id="c\0", name="Bash", input={"a\0": ["\ud800", float("nan"), 1.5]})
    runner.says("turn.done", status="succeeded", text="one\0two", turns=1, tool_calls=1)
    (called,) = [event["data"] for event in envelopes(task) if event["type"] == "tool.called"]
    assert (called["call_id"], called["input"]) == ("c\ufffd", {"a\ufffd": ["\ufffd", None, 1.5]})
    assert fresh(task).result_text == "one\ufffdtwo"
