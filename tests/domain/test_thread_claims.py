"""Delivered work that goes on in its thread: by a reply, by word, for who may, until it is let go."""

from __future__ import annotations

import pytest

from conftest import Tenant, recorded
from services.domain.chats.models import ThreadClaim
from services.domain.ports.chat import ChatKind
from services.domain.tasks.models import Task, TaskMode
from services.domain.tasks.submit import TaskOrder, submit_task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.models import Workspace
from tests.domain.talking import Talk, open_talk

CHANNEL = {"chat": "C1", "kind": ChatKind.CHANNEL}


@pytest.fixture
def talk(acme: Tenant) -> Talk:
    return open_talk(acme)


def deliver(talk: Talk, name: str, chat: str, message_id: str, thread: str = "") -> Task:
    """Deliver the answer of a one-off task of a person's into a chat."""
    actor = talk.tenant.people[name]
    order = TaskOrder(
        agent_id=talk.tenant.agent.id,
        prompt="report",
        mode=TaskMode.BATCH,
        deliver_to={"chat_id": str(talk.chat(chat).id), "thread_id": thread},
    )
    task = submit_task(actor, order, source="playbook")
    talk.answers(task, "the report", message_id)
    return task


def workspace_of(task: Task) -> Workspace:
    return Workspace.objects.using("operator").get(id=task.workspace_id)


def test_a_reply_to_a_delivered_answer_goes_on_in_its_workspace(talk, acme):
    talk.knows("alice", "1")
    task = deliver(talk, "alice", "100", "900")
    assert not workspace_of(task).is_persistent
    with recorded() as seen:
        outcome = talk.says("and the second half?", who="1", reply_to="900")
    assert outcome.startswith("claimed: task:")
    assert "workspace.claimed" in seen.event_types
    following = talk.tasks()[-1]
    assert (following.workspace_id, following.user_id) == (task.workspace_id, acme.people["alice"].user_id)
    assert following.prompt == "and the second half?"
    assert workspace_of(task).is_persistent
    assert talk.says("something else", who="1").startswith("task:")
    assert talk.tasks()[-1].workspace_id != task.workspace_id


def test_the_answer_to_a_claim_can_be_replied_to_as_well(talk):
    talk.knows("alice", "1")
    task = deliver(talk, "alice", "100", "900")
    talk.says("more", who="1", reply_to="900")
    talk.answers(talk.tasks()[-1], "more of it", "901")
    talk.says("and more", who="1", reply_to="901")
    assert [one.workspace_id for one in talk.tasks()] == [task.workspace_id] * 3
    assert ThreadClaim.objects.using("operator").count() == 1


def test_in_a_thread_below_the_answer_all_that_its_person_says_goes_on(talk):
    talk.knows("alice", "1", **CHANNEL)
    task = deliver(talk, "alice", "C1", "17.5")
    assert talk.says("go on", who="1", thread="17.5", mention=False, **CHANNEL).startswith("claimed: task:")
    assert talk.says("and on", who="1", thread="17.5", mention=False, **CHANNEL).startswith("claimed: task:")
    last = talk.tasks()[-1]
    assert last.workspace_id == task.workspace_id
    assert last.deliver_to["thread_id"] == "17.5"


def test_somebody_elses_work_is_not_gone_on_with(talk):
    talk.knows("alice", "1", **CHANNEL)
    talk.knows("bob", "2", chat="C1")
    deliver(talk, "alice", "C1", "17.5")
    outcome = talk.says("me too", who="2", thread="17.5", **CHANNEL)
    assert outcome == "claimed: refused: not_permitted"
    assert "somebody else's work" in talk.said()[-1]
    count = len(talk.said())
    talk.says("go on", who="1", thread="17.5", mention=False, **CHANNEL)
    assert talk.says("no, wait", who="2", thread="17.5", mention=False, **CHANNEL).startswith("task:")
    assert len(talk.said()) == count
    assert len(talk.tasks()) == 3


def test_a_stranger_claims_nothing(talk):
    talk.knows("alice", "1", **CHANNEL)
    task = deliver(talk, "alice", "C1", "17.5")
    assert talk.says("hi", who="66", thread="17.5", **CHANNEL).startswith("task:")
    assert talk.tasks()[-1].workspace_id != task.workspace_id
    assert not ThreadClaim.objects.using("operator").exists()


def test_a_reply_to_the_chats_own_conversation_is_routed_as_usual(talk):
    talk.knows("alice", "1")
    talk.says("hello", who="1")
    talk.answers(talk.tasks()[0], "hi", "900")
    assert talk.says("more", who="1", reply_to="900").startswith("task:")


def test_claiming_by_word_lasts_until_a_new_conversation_begins(talk):
    talk.knows("alice", "1")
    assert talk.says("/claim", who="1") == "command: claim refused: not_found"
    task = deliver(talk, "alice", "100", "900")
    assert talk.says("/claim", who="1") == "command: claim"
    assert "goes on in" in talk.said()[-1]
    assert talk.says("more", who="1").startswith("claimed: task:")
    assert talk.tasks()[-1].workspace_id == task.workspace_id
    talk.says("/new", who="1")
    assert talk.says("other", who="1").startswith("task:")
    assert talk.tasks()[-1].workspace_id != task.workspace_id


def test_what_was_claimed_and_archived_is_let_go(talk, acme):
    talk.knows("alice", "1")
    task = deliver(talk, "alice", "100", "900")
    talk.says("/claim", who="1")
    with tenant_transaction(acme.organisation.id):
        Workspace.objects.filter(id=task.workspace_id).update(archived_at=task.created_at)
    assert talk.says("more", who="1").startswith("task:")
    assert talk.says("more", who="1", reply_to="900").startswith("task:")
