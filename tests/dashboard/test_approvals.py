"""The buttons that allow what an agent was refused, and the list that they write into."""

from __future__ import annotations

import pytest

from services.domain.agents.models import Agent
from services.domain.approvals.actions import decide_approval
from services.domain.approvals.held import Wanted, hold_call
from services.domain.approvals.models import Approval, ApprovalRule
from services.domain.approvals.rule_actions import create_rule
from services.domain.approvals.rule_queries import to_rule
from services.domain.approvals.rules import RuleFields, ToolUse, Verdict
from services.domain.approvals.subjects import SeenFile
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
        "when_busy": "steer",
        "egress": "API.github.com\n*.Python.org:443\nexample.com:80 get,head\n",
    }  # fmt: skip
    answer = alice.post("/agents/new", fields)
    assert answer.status_code == 302, answer.content.decode()
    with tenant_transaction(acme.organisation.id):
        agent = Agent.objects.get(name="Reader")
    assert agent.egress == [
        {"host": "api.github.com", "port": 443, "methods": None},
        {"host": "*.python.org", "port": 443, "methods": None},
        {"host": "example.com", "port": 80, "methods": ["GET", "HEAD"]},
    ]
    page = alice.get(f"/agents/{agent.id}").content.decode()
    assert "api.github.com\n*.python.org\nexample.com:80 GET,HEAD" in page
    for line in ("*", "*.com", "10.0.0.1", "api.github.com:99999", "a.test FROB", "[::1]"):
        wrong = alice.post(f"/agents/{agent.id}", {**fields, "egress": f"good.test\n{line}"})
        assert wrong.status_code == 400, line
        assert line in wrong.content.decode()


def test_a_held_call_shows_its_arguments_and_who_agreed(alice, bob, acme):
    task = submit(acme)
    use = ToolUse("notify", "notify_user", {"message": "<b>pay</b>"}, task.agent_id)
    wanted = Wanted(use, {"message": "<b>pay</b>"}, {"message": "<b>pay</b>", "why": "x" * 300}, "target")
    rule = to_rule(create_rule(acme.owner, RuleFields(effect="hold", tool="*", people=2)))
    approval_id = hold_call(task, wanted, Verdict("hold", rule)).approval_id
    page = alice.get("/approvals").content.decode()
    assert_clean(page)
    assert "notify.notify_user" in page
    assert "&lt;b&gt;pay&lt;/b&gt;" in page
    assert "x" * 300 in page
    assert "0 of 2 agreed" in page
    bob.post(f"/approvals/{approval_id}/decide", {"decision": "allow"})
    page = bob.get("/approvals").content.decode()
    assert "One more person must agree" in page
    assert "1 of 2 agreed: bob" in page


def test_a_held_call_shows_the_files_that_it_carries_out(alice, acme):
    task = submit(acme)
    use = ToolUse("mail", "mail_send", {}, task.agent_id)
    file = SeenFile(path="out/<b>.pdf", name="b.pdf", size_bytes=12_345, sha256="5e" * 32)
    hold_call(task, Wanted(use, {}, {"subject": "Hello"}, "target", (file,)), Verdict("hold"))
    page = alice.get("/approvals").content.decode()
    assert_clean(page)
    assert "mail.mail_send with b.pdf (12,345 bytes)" in page
    assert f"out/&lt;b&gt;.pdf: 12345 bytes, sha256 {'5e' * 32}" in page


RULE = {
    "name": "Mail to others", "effect": "hold", "tool": "gmail.gmail_send", "priority": "0", "people": "2",
    "arguments": "to.* glob *@globex.example\namount equals 100\nbcc absent", "decider_role": "admin",
    "lifetime_h": "24", "is_enabled": "on", "agent_id": "", "chat_id": "",
}  # fmt: skip


def test_a_rule_is_added_changed_and_removed(alice, acme):
    assert "No rule yet" in alice.get("/approvals/rules").content.decode()
    assert alice.post("/approvals/rules/new", RULE).headers["Location"] == "/approvals/rules"
    with tenant_transaction(acme.organisation.id):
        rule = ApprovalRule.objects.get()
    assert rule.arguments == [
        {"path": "to.*", "test": "glob", "value": "*@globex.example"},
        {"path": "amount", "test": "equals", "value": 100},
        {"path": "bcc", "test": "absent", "value": None},
    ]
    assert (rule.people, rule.lifetime_s, rule.may_decide_own) == (2, 86_400, False)
    page = alice.get("/approvals/rules").content.decode()
    assert_clean(page)
    assert "gmail.gmail_send" in page
    assert "to.* glob *@globex.example; amount equals 100; bcc absent" in page
    form = alice.get(f"/approvals/rules/{rule.id}").content.decode()
    assert_clean(form)
    assert "amount equals 100" in form
    alice.post(f"/approvals/rules/{rule.id}", RULE | {"effect": "deny", "arguments": ""})
    with tenant_transaction(acme.organisation.id):
        changed = ApprovalRule.objects.get()
    assert (changed.effect, changed.arguments) == ("deny", [])
    alice.post(f"/approvals/rules/{rule.id}/delete")
    with tenant_transaction(acme.organisation.id):
        assert not ApprovalRule.objects.exists()


def test_a_rule_that_means_nothing_is_refused_beside_its_field(alice):
    for change, words in (
        ({"arguments": "to like x"}, "This is no condition: to like x"),
        ({"arguments": "to regex ("}, "This is no regular expression"),
        ({"tool": "gmail send"}, "A tool is named"),
    ):
        answer = alice.post("/approvals/rules/new", RULE | change)
        assert answer.status_code == 400
        assert words in answer.content.decode()


def test_a_member_sees_rules_and_adds_none(bob, alice, acme):
    alice.post("/approvals/rules/new", RULE)
    page = bob.get("/approvals/rules").content.decode()
    assert "gmail.gmail_send" in page
    assert "New rule" not in page
    assert bob.post("/approvals/rules/new", RULE).status_code == 400
