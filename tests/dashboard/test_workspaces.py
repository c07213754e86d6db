"""The list of workspaces, one conversation, and the forms under it."""

from __future__ import annotations

import uuid

import pytest

from conftest import recorded
from services.domain.events.listed import DeliveryChanged
from services.domain.events.types import (
    MessageEdited,
    SandboxChanged,
    TaskStarted,
    ToolCalled,
)
from services.domain.identity.tickets import redeem_ticket
from services.domain.tasks.models import Task
from services.domain.tasks.submit import TaskOrder, submit_task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import archive_workspace
from services.domain.workspaces.models import Workspace
from services.domain.workspaces.queries import list_recent_workspaces
from services.kit.clock import now
from tests.dashboard.conftest import assert_clean
from tests.dashboard.samples import finish, say, submit, tell, work

JSON = {"headers": {"Accept": "application/json"}}


def test_a_posted_prompt_becomes_a_task_in_a_workspace_of_its_own(alice, acme):
    with recorded() as seen:
        answer = alice.post("/", {"agent_id": str(acme.agent.id), "prompt": "echo hello", "key": "k1"})
    with tenant_transaction(acme.organisation.id):
        task = Task.objects.get()
    assert answer.headers["Location"] == f"/workspaces/{task.workspace_id}"
    assert (task.source, task.prompt, task.user_id) == ("web", "echo hello", acme.users["alice"].pk)
    assert "task.dispatch" in seen.job_types


def test_a_form_that_is_sent_twice_counts_once(alice, acme):
    fields = {"agent_id": str(acme.agent.id), "prompt": "echo hello", "key": "same"}
    first, second = alice.post("/", fields), alice.post("/", fields)
    assert first.headers["Location"] == second.headers["Location"]
    with tenant_transaction(acme.organisation.id):
        assert Task.objects.count() == 1


@pytest.mark.parametrize(
    ("prompt", "message"),
    [("", "The prompt is empty."), ("  \n", "The prompt is empty."), ("x" * 200_001, "longer than")],
)
def test_a_prompt_that_is_refused_says_why(alice, acme, prompt, message):
    answer = alice.post("/", {"agent_id": str(acme.agent.id), "prompt": prompt, "key": "k"})
    assert answer.status_code == 400
    assert message in answer.content.decode()


def test_another_tenants_agent_cannot_be_chosen(alice, globex):
    answer = alice.post("/", {"agent_id": str(globex.agent.id), "prompt": "echo", "key": "k"})
    assert answer.status_code == 400


def test_the_list_is_searched_by_name_and_agent(alice, acme):
    submit(acme, "look for the needle")
    submit(acme, "something else")
    page = alice.get("/?q=needle").content.decode()
    assert "look for the needle" in page
    assert "something else" not in page
    assert "something else" in alice.get("/?q=shell").content.decode()
    assert "No workspace matches" in alice.get("/?q=nowhere").content.decode()


def test_a_search_is_text_and_no_pattern(alice, acme):
    submit(acme, "plain")
    assert "No workspace matches" in alice.get("/?q=%25").content.decode()


@pytest.mark.parametrize(
    "before", ["nonsense", "2026-01-01", "2026-13-45T00:00:00Z", "2100-01-01T00:00:00%2B00:00"]
)
def test_a_strange_cursor_is_no_error(alice, before):
    assert alice.get(f"/?before={before}").status_code == 200


def test_the_list_goes_on_where_it_ended(acme):
    for number in range(5):
        submit(acme, f"number {number}")
    with tenant_transaction(acme.organisation.id):
        first = list_recent_workspaces(acme.owner, limit=3)
        second = list_recent_workspaces(acme.owner, before=first[-1].last_active_at, limit=3)
    assert [row.name for row in [*first, *second]] == [f"number {number}" for number in (4, 3, 2, 1, 0)]
    assert first[0].last_status == "queued"


def test_a_conversation_is_there_without_any_script(alice, acme):
    task = submit(acme, "make report")
    work(task, output="report written\n")
    page = alice.get(f"/workspaces/{task.workspace_id}").content.decode()
    for text in ("make report", "report written", "succeeded", "1.2 s", "busy", "Bash"):
        assert text in page
    assert 'data-status="succeeded"' in page


def test_a_request_that_its_writer_edited_is_shown_as_it_is_now(alice, acme):
    task = submit(acme, prompt="echo before")
    tell(task, MessageEdited(text="echo after"))
    page = alice.get(f"/workspaces/{task.workspace_id}").content.decode()
    conversation = page.partition('data-role="user"')[2]
    assert "echo after" in conversation
    assert "echo before" not in conversation


def test_what_an_agent_says_is_text_and_never_markup(alice, acme):
    task = submit(acme, "<b>prompt</b>")
    say(task, "<script>alert(1)</script> <img src=x onerror=alert(2)>")
    page = alice.get(f"/workspaces/{task.workspace_id}").content.decode()
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert_clean(page)


def test_a_failed_task_shows_its_reason(alice, acme):
    task = submit(acme, "make nope")
    work(task, status="failed")
    page = alice.get(f"/workspaces/{task.workspace_id}").content.decode()
    assert "The command ended with exit code 2." in page
    assert "failed · 1.2 s" in page


def test_an_answer_without_tools_is_shown_from_the_tasks_end(alice, acme):
    task = submit(acme)
    tell(task, TaskStarted(task_id=str(task.id)))
    finish(task, text="only the end says this")
    assert "only the end says this" in alice.get(f"/workspaces/{task.workspace_id}").content.decode()


def test_a_deliverys_state_stands_under_its_turn(alice, acme):
    task = submit(acme)
    work(task)
    sending = DeliveryChanged(
        delivery_id=uuid.uuid4(), link_id=uuid.uuid4(), chat_id=uuid.uuid4(), task_id=task.id, kind="answer", part=0,
        status="sending", error="", reached="", sent_at=None, created_at=now(),
    )  # fmt: skip
    tell(task, sending)
    tell(task, sending.model_copy(update={"status": "failed", "error": "kicked"}))
    page = alice.get(f"/workspaces/{task.workspace_id}").content.decode()
    assert "delivery failed: kicked" in page
    assert "delivery sending" not in page


def test_the_page_names_the_last_number_that_it_shows(alice, acme):
    task = submit(acme)
    tell(task, SandboxChanged(state="busy"))
    page = alice.get(f"/workspaces/{task.workspace_id}").content.decode()
    assert 'data-seq="3"' in page
    assert 'data-realtime="ws://127.0.0.1:8001"' in page


def test_of_a_long_conversation_the_end_is_shown_first(alice, acme):
    task = submit(acme, "the beginning")
    tell(task, TaskStarted(task_id=str(task.id)))
    for batch in range(11):
        calls = [
            ToolCalled(call_id=f"c{batch}-{n}", name="Read", input={"path": f"f{batch}-{n}"})
            for n in range(100)
        ]
        tell(task, *calls)
    address = f"/workspaces/{task.workspace_id}"
    page = alice.get(address).content.decode()
    assert "the beginning" not in page.partition("data-conversation")[2].partition("<template")[0]
    assert "f10-99" in page
    assert '?depth=2000"' in page
    assert 'data-status="queued"' in page  # the task itself was never claimed; its row says so
    deeper = alice.get(f"{address}?depth=2000").content.decode()
    assert "the beginning" in deeper.partition("data-conversation")[2].partition("<template")[0]
    assert "Show earlier" not in deeper


@pytest.mark.parametrize("depth", ["x", "-1", "99999999999999999999", "²"])
def test_a_strange_depth_is_no_error(alice, acme, depth):
    task = submit(acme)
    assert alice.get(f"/workspaces/{task.workspace_id}?depth={depth}").status_code == 200


def test_the_next_prompt_goes_to_the_same_workspace(alice, acme):
    task = submit(acme)
    work(task)
    address = f"/workspaces/{task.workspace_id}"
    assert alice.post(f"{address}/prompt", {"prompt": "again", "key": "a"}).headers["Location"] == address
    answer = alice.post(f"{address}/prompt", {"prompt": "by script", "key": "b"}, **JSON)
    assert (answer.status_code, answer.json()) == (202, {})
    with tenant_transaction(acme.organisation.id):
        assert Task.objects.filter(workspace_id=task.workspace_id).count() == 3


def test_a_refused_prompt_stays_in_the_box(alice, acme):
    task = submit(acme)
    archive_later = f"/workspaces/{task.workspace_id}/prompt"
    finish(task)
    archive_workspace(acme.owner, task.workspace_id)
    answer = alice.post(archive_later, {"prompt": "my long text", "key": "a"})
    assert answer.status_code == 400
    script = alice.post(archive_later, {"prompt": "my long text", "key": "a"}, **JSON)
    assert script.status_code == 400
    assert script.json()["error"]["message"] == "The workspace is archived."


def test_stop_cancels_a_task_that_waits(alice, acme):
    task = submit(acme)
    answer = alice.post(f"/workspaces/{task.workspace_id}/tasks/{task.id}/stop", **JSON)
    assert answer.status_code == 202
    with tenant_transaction(acme.organisation.id):
        assert Task.objects.get().status == "cancelled"


def test_stop_of_an_ended_task_says_so(alice, acme):
    task = submit(acme)
    work(task)
    address = f"/workspaces/{task.workspace_id}/tasks/{task.id}/stop"
    assert alice.post(address, **JSON).json()["error"]["code"] == "task_finished"
    alice.post(address)
    assert "The task has ended already." in alice.get(f"/workspaces/{task.workspace_id}").content.decode()


def test_a_ticket_is_the_persons_own_in_the_chosen_organisation(bob, acme):
    ticket = bob.post("/tickets", **JSON).json()["ticket"]
    actor = redeem_ticket(ticket)
    assert (actor.org_id, actor.user_id) == (acme.organisation.id, acme.users["bob"].pk)


def test_a_workspace_is_renamed_archived_and_deleted(alice, acme):
    task = submit(acme)
    address = f"/workspaces/{task.workspace_id}"
    alice.post(f"{address}/rename", {"name": "Quarterly report"})
    assert "Quarterly report" in alice.get("/").content.decode()
    alice.post(f"{address}/archive")
    assert "work in progress" in alice.get(address).content.decode()
    finish(task)
    alice.post(f"{address}/archive")
    assert "This workspace is archived" in alice.get(address).content.decode()
    assert alice.post(f"{address}/delete").headers["Location"] == "/"
    with tenant_transaction(acme.organisation.id):
        assert not Workspace.objects.exists()


def test_a_viewer_reads_and_sends_nothing(acme):
    from services.domain.identity.actions import add_member
    from services.domain.identity.models import User
    from tests.dashboard.conftest import Person, sign_in

    vera = User.objects.create_user("vera@acme.example", "correct horse battery staple")
    add_member(acme.owner, vera, "viewer")
    task = submit_task(acme.owner, TaskOrder(agent_id=acme.agent.id, prompt="look"), source="web")
    person = Person(sign_in("vera@acme.example"), str(acme.organisation.id))
    page = person.get(f"/workspaces/{task.workspace_id}")
    assert page.status_code == 200
    assert "Viewers can read along" in page.content.decode()
    person.get("/sign-in")
    answer = person.post(f"/workspaces/{task.workspace_id}/prompt", {"prompt": "x", "key": "k"}, **JSON)
    assert answer.status_code == 400
    assert "tasks:write" in answer.json()["error"]["message"]


def test_the_palette_finds_by_name_what_is_ones_own(alice, mallory, acme, globex):
    submit(acme, "Weekly numbers")
    found = alice.get("/palette?q=WEEKLY").json()["items"]
    assert [(line["label"], line["kind"]) for line in found] == [("Weekly numbers", "Workspace")]
    assert alice.get(found[0]["url"]).status_code == 200
    assert {line["kind"] for line in alice.get("/palette?q=shell").json()["items"]} == {"Workspace", "Agent"}
    assert mallory.get("/palette?q=weekly").json()["items"] == []
    assert mallory.get("/palette").json()["items"] == []
