"""Agents that give each other work: it ends by how often it was passed on, and by how much of it there is."""

from __future__ import annotations

import pytest

from conftest import Tenant
from services.domain.agents.actions import AgentFields, create_agent
from services.domain.errors import LoopStopped
from services.domain.tasks import passing
from services.domain.tasks.models import Task
from services.domain.tasks.passing import MAX_HOPS
from services.domain.tasks.queries import agent_actor
from services.domain.tasks.runner import issue_turn
from services.domain.tasks.submit import TaskOrder, submit_task
from services.domain.tenancy.transaction import tenant_transaction
from tests.domain.cast import Runner, start, submit
from tests.gateway.serving import Caller, Working, at_work


def work_on(task: Task) -> Working:
    """Start a task that was submitted."""
    sandbox_id = start(task, slots=64).sandbox.id
    runner = Runner(task, sandbox_id)
    runner.says("turn.started", provider="shell")
    frame = issue_turn(task.org_id, task.id, sandbox_id)
    assert frame is not None
    return Working(task, runner, {f"mcp:{server['name']}": server["token"] for server in frame["mcp"]})


def task_of(tenant: Tenant, task_id: str) -> Task:
    """Read a task."""
    with tenant_transaction(tenant.organisation.id):
        return Task.objects.get(id=task_id)


def test_two_agents_that_submit_to_each_other_stop(gateway, acme, claude):
    other = create_agent(acme.owner, AgentFields(name="Other"))
    current, submitted = at_work(acme, claude), 0
    names = [other.slug, claude.slug]
    while True:
        call = Caller(gateway, current, "platform")
        result = call.raw("task_submit", prompt="your turn", agent=names[submitted % 2])
        if result.get("isError"):
            break
        submitted += 1
        assert submitted <= MAX_HOPS
        current = work_on(task_of(acme, result["structuredContent"]["task_id"]))
    assert submitted == MAX_HOPS
    assert result["content"][0]["text"].startswith("loop_stopped: Agents may pass work on at most 5 times")


def test_two_agents_in_two_workspaces_that_answer_each_other_stop_too(acme):
    first, second = submit(acme), submit(acme)
    places = [second.workspace_id, first.workspace_id]
    current, hops = first, 0
    with pytest.raises(LoopStopped, match="at most 5 times in a row"):
        while hops <= MAX_HOPS:
            order = TaskOrder(workspace_id=places[hops % 2], prompt="ping")
            current = submit_task(agent_actor(current), order, source="agent")
            hops += 1
    assert hops == MAX_HOPS


def test_what_comes_of_one_task_is_limited(gateway, acme, claude, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(passing, "MAX_OF_A_TREE", 4)
    root = Caller(gateway, at_work(acme, claude), "platform")
    child = work_on(task_of(acme, root("task_submit", prompt="x")["task_id"]))
    root("task_submit", prompt="x")
    deeper = Caller(gateway, child, "platform")
    deeper("task_submit", prompt="x")
    for call in (root, deeper):
        words = call.refused("task_submit", prompt="x")
        assert words.startswith("loop_stopped: What comes of one task is at most 4 tasks an hour. Wait for")
    elsewhere = Caller(gateway, at_work(acme, claude), "platform")
    elsewhere("task_submit", prompt="x")


def test_what_agents_of_one_person_pass_on_is_limited(gateway, acme, claude, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(passing, "MAX_OF_A_PERSON", 2)
    for _ in range(2):
        Caller(gateway, at_work(acme, claude), "platform")("task_submit", prompt="x")
    words = Caller(gateway, at_work(acme, claude), "platform").refused("task_submit", prompt="x")
    assert words.startswith("loop_stopped: Agents of one person pass on at most 2 tasks an hour.")
    bobs = Caller(gateway, at_work(acme, claude, who=acme.people["bob"]), "platform")
    bobs("task_submit", prompt="x")


def test_a_person_is_never_held_up(acme, claude, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(passing, "MAX_OF_A_PERSON", 0)
    monkeypatch.setattr(passing, "MAX_OF_A_TREE", 0)
    at_work(acme, claude)
