"""The notify and platform tools: a word to the person, and work passed on to other agents."""

from __future__ import annotations

import threading
import time
import uuid

import pytest

from conftest import recorded
from services.domain import notifications
from services.domain.actors import system_actor
from services.domain.agents.actions import AgentFields, archive_agent, create_agent
from services.domain.events.log import list_events
from services.domain.tasks.passing import MAX_HOPS
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import archive_workspace
from tests.domain.cast import Runner, fresh, start, submit
from tests.gateway.serving import Caller, at_work


@pytest.fixture
def platform(gateway, working) -> Caller:
    """Call the platform tools for alice."""
    return Caller(gateway, working, "platform")


@pytest.fixture
def notify(gateway, working) -> Caller:
    """Call the notify tool for alice."""
    return Caller(gateway, working, "notify")


# --- notify ------------------------------------------------------------------------------------------


def test_a_notification_reaches_the_users_stream(notify, working, acme):
    with recorded() as seen:
        first = notify("notify_user", message=" half done ")
        second = notify("notify_user", message="look now", urgency="high")
    assert (first["seq"], second["seq"]) == (1, 2)
    assert seen.event_types == ["notification.created", "notification.created"]
    assert seen.jobs == []
    stream = f"user:{acme.owner.user_id}"
    with tenant_transaction(acme.organisation.id):
        events = list_events(stream, after=0, limit=10)
    assert [event.data for event in events] == [
        {"message": "half done", "urgency": "normal", "task_id": str(working.task.id)},
        {"message": "look now", "urgency": "high", "task_id": str(working.task.id)},
    ]


def test_a_task_without_a_user_has_nobody_to_notify(gateway, acme, claude):
    nobodys = at_work(acme, claude, who=system_actor(acme.organisation.id))
    words = Caller(gateway, nobodys, "notify").refused("notify_user", message="hello?")
    assert words.startswith("nobody_to_notify:")


def test_bad_messages_are_refused(notify):
    assert notify.refused("notify_user", message="   ").startswith("invalid:")
    assert notify.refused("notify_user", message="x" * 4_001).startswith("invalid:")
    assert notify.refused("notify_user", message="x", urgency="panic").startswith("invalid: urgency:")


def test_a_task_cannot_notify_without_end(notify, monkeypatch):
    monkeypatch.setattr(notifications, "MAX_OF_A_TASK", 3)
    for number in range(3):
        assert notify("notify_user", message=f"step {number}")["is_repeat"] is False
    assert notify("notify_user", message="step 1")["is_repeat"] is True
    assert notify.refused("notify_user", message="step 3").startswith("rate_limited:")


# --- tasks -------------------------------------------------------------------------------------------


def test_a_submitted_task_belongs_to_the_same_person_and_knows_its_parent(platform, working, acme):
    with recorded() as seen:
        given = platform("task_submit", prompt="count to three", agent="shell")
    child = fresh_by_id(acme, given["task_id"])
    assert (child.parent_id, child.hops, child.user_id) == (working.task.id, 1, acme.owner.user_id)
    assert (child.source, child.mode, child.agent_id) == ("agent", "batch", acme.agent.id)
    assert given["agent"] == "shell"
    assert seen.event_types == ["task.queued", "message.created"]
    assert seen.job_types == ["task.dispatch"]


def fresh_by_id(tenant, task_id):
    from services.domain.tasks.models import Task

    with tenant_transaction(tenant.organisation.id):
        return Task.objects.get(id=task_id)


def test_an_agent_may_be_named_by_id_slug_or_name_and_is_ones_own_kind_by_default(platform, acme, working):
    for name in (str(acme.agent.id), "shell", "SHELL"):
        assert platform("task_submit", prompt="x", agent=name)["agent"] == "shell"
    assert platform("task_submit", prompt="x")["agent"] == "claude"


def test_an_agent_that_is_not_there_is_said_not_to_be(platform, acme, globex):
    retired = create_agent(acme.owner, AgentFields(name="Retired"))
    archive_agent(acme.owner, retired.id)
    create_agent(acme.owner, AgentFields(name="Twin", slug="twin-1"))
    create_agent(acme.owner, AgentFields(name="Twin", slug="twin-2"))
    for name in ("nobody", str(uuid.uuid4()), str(globex.agent.id), str(retired.id), "Twin"):
        assert platform.refused("task_submit", prompt="x", agent=name).startswith("agent_not_found:")


def test_work_continues_in_a_workspace_that_is_named(platform, acme):
    first = submit(acme)
    given = platform("task_submit", prompt="go on", workspace_id=str(first.workspace_id))
    assert given["workspace_id"] == str(first.workspace_id)
    wrong = platform.refused("task_submit", prompt="x", agent="claude", workspace_id=str(first.workspace_id))
    assert wrong.startswith("invalid:")


def test_work_is_passed_on_five_times_and_no_further(gateway, acme, claude, working):
    current = working
    for _ in range(MAX_HOPS):
        given = Caller(gateway, current, "platform")("task_submit", prompt="deeper", agent="claude")
        child = fresh_by_id(acme, given["task_id"])
        sandbox_id = start(child).sandbox.id
        runner = Runner(child, sandbox_id)
        runner.says("turn.started", provider="claude")
        current = tokens_of(child, runner)
    words = Caller(gateway, current, "platform").refused("task_submit", prompt="deeper", agent="claude")
    assert words.startswith("loop_stopped: Agents may pass work on at most 5 times")


def tokens_of(task, runner):
    from services.domain.tasks.runner import issue_turn
    from tests.gateway.serving import Working

    frame = issue_turn(task.org_id, task.id, runner.sandbox_id)
    return Working(task, runner, {f"mcp:{server['name']}": server["token"] for server in frame["mcp"]})


def test_waiting_returns_as_soon_as_the_task_has_ended(platform, acme):
    given = platform("task_submit", prompt="quick", agent="shell")
    child = fresh_by_id(acme, given["task_id"])
    runner = Runner(child, start(child).sandbox.id)
    runner.says("turn.started", provider="shell")
    answers = []
    began = time.monotonic()
    waiting = threading.Thread(
        target=lambda: answers.append(platform("task_wait", task_id=given["task_id"], timeout_s=4))
    )
    waiting.start()
    runner.says("turn.done", status="succeeded", text="three")
    waiting.join(5)
    assert time.monotonic() - began < 3
    assert (answers[0]["status"], answers[0]["text"], answers[0]["is_finished"]) == (
        "succeeded",
        "three",
        True,
    )
    assert answers[0]["error"] is None


def test_waiting_ends_with_the_state_when_the_time_is_over(platform):
    given = platform("task_submit", prompt="slow", agent="shell")
    state = platform("task_wait", task_id=given["task_id"], timeout_s=0.2)
    assert (state["status"], state["is_finished"]) == ("queued", False)
    assert platform.refused("task_wait", task_id=given["task_id"], timeout_s=51).startswith("invalid:")


def test_waiting_for_what_cannot_end_is_refused_at_once(platform, working):
    assert platform.refused("task_wait", task_id=str(working.task.id)).startswith("conflict:")
    own = platform("task_submit", prompt="later", workspace_id=str(working.task.workspace_id))
    assert "your own workspace" in platform.refused("task_wait", task_id=own["task_id"])
    assert platform("task_wait", task_id=own["task_id"], timeout_s=0)["status"] == "queued"


def test_a_failed_task_shows_its_error(platform, acme):
    given = platform("task_submit", prompt="x", agent="shell")
    child = fresh_by_id(acme, given["task_id"])
    runner = Runner(child, start(child).sandbox.id)
    runner.says("turn.started", provider="shell")
    runner.says("turn.done", status="failed", error={"code": "command_failed", "message": "exit 1"})
    state = platform("task_get", task_id=given["task_id"])
    assert state["error"] == {"code": "command_failed", "message": "exit 1"}


def test_an_agent_cancels_what_it_submitted_and_what_is_its_users(platform, acme):
    given = platform("task_submit", prompt="x", agent="shell")
    assert platform("task_cancel", task_id=given["task_id"])["status"] == "cancelled"
    alices = submit(acme)
    assert platform("task_cancel", task_id=str(alices.id))["status"] == "cancelled"


def test_an_agent_does_not_cancel_the_work_of_others(gateway, platform, acme, claude):
    bobs = at_work(acme, claude, who=acme.people["bob"])
    nobodys = at_work(acme, claude, who=system_actor(acme.organisation.id))
    for task in (bobs.task, nobodys.task):
        assert platform.refused("task_cancel", task_id=str(task.id)).startswith("task_not_found:")
        assert fresh(task).cancel_requested_at is None
    of_nobody = Caller(gateway, nobodys, "platform")
    own = of_nobody("task_submit", prompt="x", agent="shell")
    assert of_nobody("task_cancel", task_id=own["task_id"])["status"] == "cancelled"
    assert of_nobody.refused("task_cancel", task_id=str(bobs.task.id)).startswith("task_not_found:")


# --- another tenant ----------------------------------------------------------------------------------


def test_another_tenants_objects_do_not_exist(gateway, working, acme, globex):
    acmes = submit(acme)
    mallory = Caller(gateway, at_work(globex, globex.agent), "platform")
    for tool in ("task_get", "task_wait", "task_cancel"):
        assert mallory.refused(tool, task_id=str(acmes.id)).startswith("task_not_found:")
    assert mallory.refused("task_submit", prompt="x", workspace_id=str(acmes.workspace_id)).startswith(
        "workspace_not_found:"
    )
    assert mallory.refused("task_submit", prompt="x", agent=str(acme.agent.id)).startswith("agent_not_found:")
    assert [agent["agent_id"] for agent in mallory("agent_list")["agents"]] == [str(globex.agent.id)]
    listed = [workspace["workspace_id"] for workspace in mallory("workspace_list")["workspaces"]]
    assert str(acmes.workspace_id) not in listed
    assert fresh(acmes).status == "queued"


# --- lists -------------------------------------------------------------------------------------------


def test_agents_and_open_workspaces_are_listed_page_by_page(platform, acme, working):
    tasks = [submit(acme, prompt=f"work {number}") for number in range(3)]
    closed = submit(acme, prompt="closed")
    platform("task_cancel", task_id=str(closed.id))
    archive_workspace(acme.owner, closed.workspace_id)
    found, cursor = [], None
    while True:
        page = platform("workspace_list", limit=2, **({"cursor": cursor} if cursor else {}))
        found += [workspace["workspace_id"] for workspace in page["workspaces"]]
        cursor = page["next"]
        if cursor is None:
            break
    expected = [task.workspace_id for task in reversed(tasks)] + [working.task.workspace_id]
    assert found == [str(workspace_id) for workspace_id in expected]
    first = platform("agent_list", limit=1)
    second = platform("agent_list", limit=1, cursor=first["next"])
    assert [first["agents"][0]["slug"], second["agents"][0]["slug"]] == ["shell", "claude"]
    assert second["next"] is None
    assert platform.refused("agent_list", cursor="x").startswith("invalid:")
