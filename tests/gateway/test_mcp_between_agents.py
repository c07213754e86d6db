"""Agents that talk to each other: by name, both ways, to the workspace that asked, and not for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.domain.agents.actions import AgentFields, create_agent
from services.domain.chats.answers import deliver_answer
from services.domain.contacts.destinations import DestinationFields, create_destination
from services.domain.errors import ConfigInvalid
from services.domain.events.models import Event
from services.domain.media.inbox import list_due, note_placed
from services.domain.plane.models import Sandbox, SandboxState
from services.domain.tasks.models import Task, TaskMessage
from services.domain.tasks.passing import MAX_HOPS
from services.domain.tasks.tree import get_task_tree
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.models import Workspace
from services.kit.clock import now
from services.kit.environment import environment
from services.mcp_gateway.mcp_servers.chat import files
from services.worker.jobs.volumes import storage
from tests.domain.cast import submit
from tests.fakes.chat_places import drain
from tests.fakes.linked_sandbox import LinkedHost, linked_host
from tests.gateway.serving import Caller, Working, at_work
from tests.gateway.test_mcp_loops import work_on


@pytest.fixture
def researcher(acme):
    """Give acme's work another agent to talk to, by the name `research`."""
    agent = create_agent(acme.owner, AgentFields(name="Researcher", slug="researcher"))
    create_destination(acme.owner, DestinationFields(name="research", agent_id=agent.id))
    return agent


def newest(**which) -> Task:
    return Task.objects.using("operator").select_related("agent").filter(**which).order_by("-id").first()


def ends(working: Working, text: str) -> None:
    working.runner.says("turn.done", status="succeeded", text=text)
    # The next turn of the workspace gets another one.
    Sandbox.objects.filter(id=working.sandbox_id).update(state=SandboxState.DESTROYED, task_id=None)
    drain("answer.return")


def test_what_is_said_to_an_agent_becomes_its_work_and_the_answer_comes_back(
    gateway, acme, claude, researcher
):
    asking = at_work(acme, claude)
    sent = Caller(gateway, asking, "chat")("send_message", to="research", text="Who keeps this library?")
    assert sent["state"] == "sent"
    asked = newest(agent=researcher)
    assert (asked.prompt, asked.parent_id, asked.hops) == ("Who keeps this library?", asking.task.id, 1)
    assert (asked.return_to_id, asked.user_id) == (asking.task.workspace_id, asking.task.user_id)
    ends(work_on(asked), "Two people do.")
    told = TaskMessage.objects.using("operator").get()
    assert told.task_id == asking.task.id
    assert told.text == "The agent Researcher answers what you asked it:\n\nTwo people do."
    drain("answer.return")
    assert TaskMessage.objects.using("operator").count() == 1
    said = Event.objects.using("operator").get(type="answer.returned")
    assert said.data["said_in"] == str(told.id)


def test_an_answer_that_comes_after_the_turn_is_a_turn_of_its_own_and_goes_on_to_who_asked(
    gateway, acme, claude, researcher
):
    root = submit(acme)
    asking = at_work(acme, claude)
    with tenant_transaction(acme.organisation.id):
        Task.objects.filter(id=asking.task.id).update(return_to_id=root.workspace_id)
    Caller(gateway, asking, "chat")("send_message", to="research", text="Who?")
    asking.end()
    ends(work_on(newest(agent=researcher)), "Two people.")
    back = newest(workspace_id=asking.task.workspace_id)
    assert back.id != asking.task.id
    assert back.prompt.endswith("Two people.")
    assert (back.hops, back.return_to_id) == (2, root.workspace_id)


def test_a_talk_goes_on_in_one_workspace_and_the_same_again_is_said_once(gateway, acme, claude, researcher):
    asking = at_work(acme, claude)
    chat = Caller(gateway, asking, "chat")
    for text in ("first", "first", "second"):
        chat("send_message", to="research", text=text)
    asked = Task.objects.using("operator").filter(agent=researcher).order_by("id")
    assert [task.prompt for task in asked] == ["first", "second"]
    assert len({task.workspace_id for task in asked}) == 1
    other = at_work(acme, claude)
    Caller(gateway, other, "chat")("send_message", to="research", text="third")
    assert newest(agent=researcher).workspace_id != asked[0].workspace_id


def test_the_other_agent_says_something_before_its_answer_to_here(gateway, acme, claude, researcher):
    asking = at_work(acme, claude)
    Caller(gateway, asking, "chat")("send_message", to="research", text="Who?")
    answering = Caller(gateway, work_on(newest(agent=researcher)), "chat")
    (here, *_) = answering("list_destinations")["destinations"]
    assert (here["name"], here["kind"], here["title"]) == ("here", "here", claude.name)
    answering("send_message", to="here", text="Which one do you mean?")
    told = TaskMessage.objects.using("operator").get()
    assert (told.task_id, told.text) == (
        asking.task.id,
        "The agent Researcher says:\n\nWhich one do you mean?",
    )


def test_an_answer_that_cannot_be_given_is_on_record_with_its_reason(gateway, acme, claude, researcher):
    asking = at_work(acme, claude)
    Caller(gateway, asking, "chat")("send_message", to="research", text="Who?")
    asking.end()
    Workspace.objects.using("operator").filter(id=asking.task.workspace_id).update(archived_at=now())
    asked = newest(agent=researcher)
    ends(work_on(asked), "Two people.")
    event = Event.objects.using("operator").get(type="answer.returned")
    assert (event.stream, event.data["reason"]) == (
        f"workspace:{asked.workspace_id}",
        "workspace_archived",
    )
    assert not event.data.get("said_in")


def test_two_agents_that_answer_each_other_stop(gateway, acme, claude, researcher):
    current, asked = at_work(acme, claude), 0
    while True:
        result = Caller(gateway, current, "chat").raw("send_message", to="research", text=f"and {asked}?")
        if result.get("isError"):
            break
        asked += 1
        assert asked <= MAX_HOPS
        ends(current, "I asked.")
        ends(work_on(newest(agent=researcher)), "It depends.")
        back = newest(workspace_id=current.task.workspace_id, finished_at=None)
        if back is None:
            break
        current = work_on(back)
    assert 1 < asked <= MAX_HOPS
    refused = Event.objects.using("operator").filter(type="answer.returned").order_by("-id").first()
    assert result.get("isError") or refused.data["reason"] == "loop_stopped"


def test_an_agent_is_not_a_chat_and_another_tenants_agent_does_not_exist(
    gateway, acme, globex, claude, researcher
):
    chat = Caller(gateway, at_work(acme, claude), "chat")
    assert "is another agent" in chat.refused("send_card", to="research", title="x")
    with pytest.raises(ConfigInvalid):
        create_destination(acme.owner, DestinationFields(name="none"))
    assert "not one of your destinations" in Caller(gateway, at_work(globex, globex.agent), "chat").refused(
        "send_message", to="research", text="x"
    )


def test_the_talk_is_one_tree(gateway, acme, claude, researcher):
    asking = at_work(acme, claude)
    Caller(gateway, asking, "chat")("send_message", to="research", text="Who?")
    asking.end()
    ends(work_on(newest(agent=researcher)), "Two people.")
    with tenant_transaction(acme.organisation.id):
        branches = get_task_tree(acme.owner, asking.task.id).branches
    assert [(branch.task.agent.name, branch.depth) for branch in branches] == [
        (claude.name, 0),
        ("Researcher", 1),
        (claude.name, 2),
    ]


def test_a_block_of_the_answer_is_said_to_the_agent_that_it_names_once(acme, claude, researcher):
    asking = at_work(acme, claude)
    answer = 'I ask.\n\n<message to="research">\nWho keeps it?\n</message>'
    asking.runner.says("turn.done", status="succeeded", text=answer)
    for _ in range(2):
        deliver_answer(asking.task.org_id, asking.task.id, lambda _, text: [text])
    asked = Task.objects.using("operator").get(agent=researcher)
    assert (asked.prompt, asked.return_to_id, asked.hops) == ("Who keeps it?", asking.task.workspace_id, 1)


@pytest.fixture
def host(database: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LinkedHost]:
    """Run a host whose objects lie in a folder of the test's own."""
    monkeypatch.setattr(environment(), "storage_dir", tmp_path / "objects")
    for made in (storage, files._storage):
        made.cache_clear()
    with linked_host(monkeypatch) as running:
        yield running
    for made in (storage, files._storage):
        made.cache_clear()


def test_a_file_is_copied_into_the_other_agents_workspace_before_it_hears_of_it(
    host, acme, claude, researcher
):
    asking = at_work(acme, claude)
    Sandbox.objects.all().delete()
    sandbox = host.link(asking.task.workspace)
    Task.objects.using("operator").filter(id=asking.task.id).update(sandbox_id=sandbox.id)
    (sandbox.folder / "numbers.csv").write_bytes(b"a,b\n1,2\n")
    chat = Caller(host.url, asking, "chat")
    for _ in range(2):
        chat("send_file", to="research", path="numbers.csv", caption="What do these say?")
    asked = Task.objects.using("operator").get(agent=researcher)
    (due,) = list_due(asked.org_id, asked.id)
    (part,) = due.parts
    assert asked.prompt == f"What do these say?\n\n[A file for you: {part.path}, 8 bytes]"
    assert part.path.endswith("/numbers.csv")
    with storage().open(part.key) as stream:
        assert stream.read() == b"a,b\n1,2\n"
    assert len(list(storage().list("incoming/"))) == 1
    note_placed(asked.org_id, due.id)
    assert list_due(asked.org_id, asking.task.id) == []
