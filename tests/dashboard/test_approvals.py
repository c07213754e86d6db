"""The buttons that allow what an agent was refused, and the list that they write into."""

from __future__ import annotations

import pytest

from services.domain.agents.models import Agent
from services.domain.approvals.actions import decide_approval
from services.domain.approvals.models import Approval
from services.domain.tenancy.transaction import tenant_transaction
from tests.dashboard.conftest import assert_clean
from tests.dashboard.samples import refuse, submit

JSON = {"headers": {"Accept": "application/json"}}


def of(task) -> Approval:
    with tenant_transaction(task.org_id):
        return Approval.objects.get(workspace_id=task.workspace_id)


def test_what_waits_is_listed_and_counted_in_the_navigation(alice, acme):
    assert "Nothing waits for you." in alice.get("/approvals").content.decode()
    refuse(submit(acme))
    page = alice.get("/approvals").content.decode()
    assert_clean(page)
    assert "api.example.com" in page
    assert "Allow once" in page
    assert 'class="count" aria-label="1 waiting"' in alice.get("/agents").content.decode()


@pytest.mark.parametrize(
    ("button", "status", "scope", "added"),
    [("allow", "allowed", "once", 0), ("always", "allowed", "always", 1), ("deny", "denied", "", 0)],
)
def test_one_click_decides(bob, acme, button, status, scope, added):
    task = submit(acme)
    approval = refuse(task)
    answer = bob.post(f"/approvals/{approval.id}/decide", {"decision": button})
    assert answer.headers["Location"] == "/approvals"
    assert (of(task).status, of(task).scope) == (status, scope)
    with tenant_transaction(task.org_id):
        assert len(Agent.objects.get(id=task.agent_id).egress) == added
    page = bob.get("/approvals").content.decode()
    assert "Nothing waits for you." in page
    assert status in page
    assert ("Take back" in page) == (scope == "once")


def test_the_conversation_shows_a_refusal_once_with_its_buttons(alice, acme):
    task = submit(acme)
    approval = refuse(task)
    refuse(task, count=4)
    page = alice.get(f"/workspaces/{task.workspace_id}").content.decode().partition("<template")[0]
    assert_clean(page)
    assert page.count('data-slot="place">CONNECT api.example.com:443') == 1
    assert "4 times" in page
    decide = f"/approvals/{approval.id}/decide"
    assert decide in page
    answer = alice.post(decide, {"decision": "allow", "back": "workspace"})
    assert answer.headers["Location"] == f"/workspaces/{task.workspace_id}"
    page = alice.get(f"/workspaces/{task.workspace_id}").content.decode()
    assert 'data-decision="allowed"' in page


def test_the_pages_script_is_answered_in_json(alice, acme):
    approval = refuse(submit(acme))
    path = f"/approvals/{approval.id}/decide"
    assert alice.post(path, {"decision": "always"}, **JSON).status_code == 202
    late = alice.post(path, {"decision": "deny"}, **JSON)
    assert (late.status_code, late.json()["error"]["code"]) == (409, "approval_closed")
    assert alice.post(path, {"decision": "perhaps"}, **JSON).status_code == 400


def test_a_question_that_was_decided_says_so_on_the_next_page(alice, acme):
    approval = refuse(submit(acme))
    decide_approval(acme.owner, approval.id, "allow", "always")
    alice.post(f"/approvals/{approval.id}/decide", {"decision": "deny"})
    assert "This was decided before" in alice.get("/approvals").content.decode()


def test_an_agents_list_is_typed_one_host_a_line(alice, acme):
    fields = {
        "name": "Reader", "provider": "shell", "timeout_s": "600", "memory_mb": "512", "cpus": "1", "idle_stop_s": "60",
        "egress": "API.github.com\n*.PyPI.org:443\nexample.com:80 get,head\n",
    }  # fmt: skip
    answer = alice.post("/agents/new", fields)
    assert answer.status_code == 302, answer.content.decode()
    with tenant_transaction(acme.organisation.id):
        agent = Agent.objects.get(name="Reader")
    assert agent.egress == [
        {"host": "api.github.com", "port": 443, "methods": None},
        {"host": "*.pypi.org", "port": 443, "methods": None},
        {"host": "example.com", "port": 80, "methods": ["GET", "HEAD"]},
    ]
    page = alice.get(f"/agents/{agent.id}").content.decode()
    assert "api.github.com\n*.pypi.org\nexample.com:80 GET,HEAD" in page
    for line in ("*", "*.com", "10.0.0.1", "api.github.com:99999", "a.test FROB", "[::1]"):
        wrong = alice.post(f"/agents/{agent.id}", {**fields, "egress": f"good.test\n{line}"})
        assert wrong.status_code == 400, line
        assert line in wrong.content.decode()
