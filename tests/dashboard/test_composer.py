"""What the composer sends: into the turn at work, after it or instead of it; again, changed, or to another agent."""

from __future__ import annotations

from services.domain.agents.actions import AgentFields, create_agent
from services.domain.events.types import MessageConsumed, MessageCreated, MessageSettled
from services.domain.tasks.models import Task, TaskMessage, UsageRecord
from services.domain.tenancy.transaction import tenant_transaction
from tests.dashboard.samples import finish, submit, tell, work
from tests.domain.cast import running

JSON = {"headers": {"Accept": "application/json"}}


def tasks_of(tenant) -> list[Task]:
    with tenant_transaction(tenant.organisation.id):
        return list(Task.objects.order_by("id"))


def test_a_prompt_goes_into_the_turn_at_work_once_and_says_that_it_waits(alice, acme):
    task, _ = running(acme)
    address = f"/workspaces/{task.workspace_id}"
    given = {"prompt": "look at the tests too", "key": "k", "when_busy": "steer"}
    assert alice.post(f"{address}/prompt", given, **JSON).status_code == 202
    finish(task)
    assert alice.post(f"{address}/prompt", given, **JSON).status_code == 202
    with tenant_transaction(acme.organisation.id):
        message = TaskMessage.objects.get()
    assert (message.task_id, len(tasks_of(acme))) == (task.id, 1)
    assert "waiting until the agent takes it" in alice.get(address).content.decode()


def test_what_steers_has_neither_model_nor_budget_of_its_own(alice, acme):
    task, _ = running(acme)
    given = {"prompt": "more", "key": "k", "when_busy": "steer", "budget_usd": "1"}
    answer = alice.post(f"/workspaces/{task.workspace_id}/prompt", given, **JSON)
    assert (answer.status_code, "keeps its model" in answer.json()["error"]["message"]) == (400, True)


def test_a_prompt_takes_the_place_of_the_turn_at_work_with_its_own_budget(alice, acme):
    task, _ = running(acme)
    given = {"prompt": "no, this", "key": "k", "when_busy": "interrupt", "budget_usd": "0.25", "model": "m"}
    assert alice.post(f"/workspaces/{task.workspace_id}/prompt", given, **JSON).status_code == 202
    stopped, following = tasks_of(acme)
    assert stopped.cancel_requested_at is not None
    assert (following.prompt, following.max_budget_microusd, following.model) == ("no, this", 250_000, "m")


def test_a_prompt_for_another_agent_gets_a_workspace_of_its_own(alice, acme, globex):
    task = submit(acme)
    other = create_agent(acme.owner, AgentFields(name="Reviewer"))
    address = f"/workspaces/{task.workspace_id}/prompt"
    answer = alice.post(address, {"prompt": "review it", "key": "k", "agent_id": str(other.id)}, **JSON)
    made = tasks_of(acme)[-1]
    assert answer.json() == {"location": f"/workspaces/{made.workspace_id}"}
    assert (made.agent_id, made.workspace_id == task.workspace_id) == (other.id, False)
    foreign = alice.post(address, {"prompt": "x", "key": "k2", "agent_id": str(globex.agent.id)}, **JSON)
    assert foreign.status_code == 400


def test_an_ended_turn_is_asked_for_again_or_changed_first(alice, acme):
    task = submit(acme, "echo <once>")
    address = f"/workspaces/{task.workspace_id}"
    early = alice.post(f"{address}/tasks/{task.id}/retry", **JSON)
    assert (early.status_code, early.json()["error"]["code"]) == (409, "conflict")
    work(task)
    page = alice.get(f"{address}?edit={task.id}").content.decode()
    assert "echo &lt;once&gt;</textarea>" in page
    assert alice.post(f"{address}/tasks/{task.id}/retry").headers["Location"] == address
    assert [one.prompt for one in tasks_of(acme)] == ["echo <once>"] * 2


def test_a_task_is_retried_only_where_it_is(alice, acme):
    here, there = submit(acme), submit(acme)
    work(there)
    answer = alice.post(f"/workspaces/{here.workspace_id}/tasks/{there.id}/retry", **JSON)
    assert answer.status_code == 404


def test_follow_ups_show_how_far_they_are(alice, acme):
    task = submit(acme)
    for name in ("taken", "moved", "dropped"):
        tell(task, MessageCreated(role="user", text=f"this is {name}", id=name))
    tell(
        task,
        MessageConsumed(id="taken"),
        MessageSettled(id="moved", state="moved"),
        MessageSettled(id="dropped", state="dropped", reason="workspace_archived"),
    )
    page = alice.get(f"/workspaces/{task.workspace_id}").content.decode()
    assert "this is taken" in page
    assert "waiting until" not in page
    assert "this is moved" not in page
    assert "not taken: workspace archived" in page


def test_what_is_used_so_far_and_what_waits_for_what_is_said(alice, acme):
    task, _ = running(acme, max_budget_microusd=2_000_000)
    submit(acme, "the next one", agent_id=None, workspace_id=task.workspace_id)
    with tenant_transaction(task.org_id):
        for cost in (1_000, 2_500):
            UsageRecord.objects.create(
                org_id=task.org_id, task=task, kind="llm", input_tokens=1_000, output_tokens=50, cost_microusd=cost
            )  # fmt: skip
    part = alice.get(f"/workspaces/{task.workspace_id}/waits").content.decode()
    assert 'data-tokens="2,100 tokens" data-cost="$0.0035"' in part
    assert "of $2.00" in part
    assert "the next one" in part
    assert "waits for the turn before it" in part
