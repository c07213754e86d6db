"""Tool calls that a person must allow: held, shown, decided, checked again, run once, and waited for meanwhile."""

from __future__ import annotations

import dataclasses
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from pydantic import SecretStr

from conftest import Tenant, recorded
from services.domain.agents.actions import update_agent
from services.domain.approvals import held
from services.domain.approvals.actions import (
    all_tenants_close_calls_of_ended_tasks,
    all_tenants_expire_approvals,
    decide_approval,
)
from services.domain.approvals.held import (
    all_tenants_forget_held_calls,
    all_tenants_lose_held_calls,
    claim_call,
    finish_call,
)
from services.domain.approvals.models import Approval, ApprovalRule, HeldCall
from services.domain.approvals.rule_actions import create_rule, delete_rule, update_rule
from services.domain.approvals.rules import RuleFields
from services.domain.errors import ApprovalClosed, RoleMissing
from services.domain.events.models import Event
from services.domain.identity.models import Membership
from services.domain.tasks.models import Task
from services.domain.tasks.runner import all_tenants_link_work
from services.domain.tasks.submit import cancel_task
from services.domain.tasks.waiting import all_tenants_wake_unseen
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.environment import environment
from services.mcp_gateway import http
from services.mcp_gateway.holding import rulebook
from services.mcp_gateway.http import AgentHttp
from services.mcp_gateway.llm.vendor import Vendor
from services.mcp_gateway.mcp_servers import notify as notify_server
from tests.domain.cast import fresh
from tests.gateway.serving import Caller, Working, approval_of, at_work, eventually, served


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait long, and rules count at once."""
    monkeypatch.setattr(environment(), "mcp_hold_wait_s", 0.3)
    monkeypatch.setattr(rulebook, "TTL_S", 0.0)


@pytest.fixture
def notify(gateway: str, working: Working) -> Caller:
    """Call the notify tool for alice."""
    return Caller(gateway, working, "notify")


@pytest.fixture
def platform(gateway: str, working: Working) -> Caller:
    """Call the platform tools for alice."""
    return Caller(gateway, working, "platform")


def hold(tenant: Tenant, tool: str = "notify.notify_user", **fields: Any) -> ApprovalRule:
    return create_rule(tenant.owner, RuleFields.model_validate({"effect": "hold", "tool": tool, **fields}))


def call_of(tenant: Tenant) -> HeldCall:
    with tenant_transaction(tenant.organisation.id):
        return HeldCall.objects.order_by("-id").first()


def notified(tenant: Tenant) -> list[str]:
    rows = Event.objects.using("operator").filter(type="notification.created", org_id=tenant.organisation.id)
    return [row.data["message"] for row in rows.order_by("id")]


class Waiting:
    """A call under way on a thread of its own."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.answers: list[Any] = []
        self._thread = threading.Thread(target=lambda: self.answers.append(call()))
        self._thread.start()

    def answer(self) -> Any:
        self._thread.join(10)
        return self.answers[0]


# --- held, and what the model reads ---------------------------------------------------------------------


def test_a_held_call_is_kept_shown_and_asked_about(notify, working, acme):
    rule = hold(acme, people=2, lifetime_s=600)
    with recorded() as seen:
        words = notify.refused("notify_user", message="pay now", urgency="high")
    approval = approval_of(acme)
    assert words.startswith(
        f"approval_pending: The call is held as approval {approval.id}: 2 people must agree"
    )
    assert f'approval_wait of the server platform with {{"approval_id": "{approval.id}"}}' in words
    subject = {
        "server": "notify", "tool": "notify_user",
        "arguments": {"message": "pay now", "urgency": "high", "channel": "all"},
    }  # fmt: skip
    assert approval.subject == subject
    assert (approval.kind, approval.people, approval.rule_id) == ("tool_call", 2, rule.id)
    assert (approval.task_id, approval.agent_id, approval.for_user_id) == (
        working.task.id, working.task.agent_id, acme.owner.user_id,
    )  # fmt: skip
    assert timedelta(minutes=9) < approval.expires_at - now() < timedelta(minutes=11)
    requested = [event for event in seen.events if event.type == "approval.requested"]
    assert requested[0].data["subject"] == subject
    assert b"pay now" not in bytes(call_of(acme).sealed_arguments)
    assert notified(acme) == []


def test_a_call_is_made_once_when_it_is_allowed_and_the_waiter_gets_its_result(notify, acme, monkeypatch):
    monkeypatch.setattr(environment(), "mcp_hold_wait_s", 10.0)
    hold(acme)
    waiting = Waiting(lambda: notify("notify_user", message="hello"))
    approval = eventually(lambda: approval_of(acme))
    assert notified(acme) == []
    decide_approval(acme.owner, approval.id, "allow")
    assert waiting.answer()["seq"] == 1
    assert notified(acme) == ["hello"]
    assert (call_of(acme).state, call_of(acme).handed_at is None) == ("done", False)


def test_the_same_call_is_the_same_question_until_its_result_went_out(notify, platform, acme):
    hold(acme)
    notify.refused("notify_user", message="hello")
    first = approval_of(acme)
    assert str(first.id) in notify.refused("notify_user", message="hello")
    assert str(first.id) not in notify.refused("notify_user", message="another")
    decide_approval(acme.owner, first.id, "allow")
    eventually(lambda: notified(acme))
    # It went on alone; the repeat gets what came of it, and the next one is a new call.
    assert notify("notify_user", message="hello")["seq"] == 1
    assert str(first.id) not in notify.refused("notify_user", message="hello")
    assert notified(acme) == ["hello"]


def test_waiting_brings_the_decision_and_the_result(notify, platform, acme):
    hold(acme)
    notify.refused("notify_user", message="hello")
    approval = approval_of(acme)
    state = platform("approval_wait", approval_id=str(approval.id), timeout_s=0)
    assert (state["outcome"], state["is_settled"]) == ("pending", False)
    waiting = Waiting(lambda: platform("approval_wait", approval_id=str(approval.id), timeout_s=10))
    decide_approval(acme.owner, approval.id, "allow")
    state = waiting.answer()
    assert (state["outcome"], state["is_settled"], state["result"]["seq"]) == ("done", True, 1)
    again = platform("approval_wait", approval_id=str(approval.id))
    assert again == state
    assert notified(acme) == ["hello"]


def test_a_call_that_nobody_waits_for_is_made_all_the_same(notify, acme):
    hold(acme)
    notify.refused("notify_user", message="hello")
    decide_approval(acme.owner, approval_of(acme).id, "allow")
    eventually(lambda: call_of(acme).state == "done")
    assert notified(acme) == ["hello"]


def test_what_is_denied_is_not_made_and_not_asked_again(notify, platform, acme):
    hold(acme)
    notify.refused("notify_user", message="hello")
    approval = approval_of(acme)
    decide_approval(acme.owner, approval.id, "deny")
    for _ in range(2):
        assert notify.refused("notify_user", message="hello").startswith("approval_denied:")
    assert platform("approval_wait", approval_id=str(approval.id))["outcome"] == "denied"
    assert approval_of(acme) == approval
    assert notified(acme) == []


def test_what_expires_is_not_made_and_is_asked_anew(notify, platform, acme):
    hold(acme)
    notify.refused("notify_user", message="hello")
    first = approval_of(acme)
    with tenant_transaction(acme.organisation.id):
        Approval.objects.update(expires_at=now() - timedelta(seconds=1))
    assert platform("approval_wait", approval_id=str(first.id))["outcome"] == "expired"
    assert notify.refused("notify_user", message="hello").startswith("approval_pending:")
    assert approval_of(acme).id != first.id
    with tenant_transaction(acme.organisation.id):
        assert Approval.objects.get(id=first.id).status == "expired"


def test_half_of_two_yeses_is_told_and_makes_no_call(notify, platform, acme):
    hold(acme, people=2)
    notify.refused("notify_user", message="hello")
    approval = approval_of(acme)
    decide_approval(acme.people["bob"], approval.id, "allow")
    state = platform("approval_wait", approval_id=str(approval.id), timeout_s=0.1)
    assert (state["outcome"], state["agreed"], state["people"]) == ("pending", 1, 2)
    assert "2 people must agree to it, 1 have so far" in state["message"]
    assert notified(acme) == []
    decide_approval(acme.owner, approval.id, "allow")
    assert platform("approval_wait", approval_id=str(approval.id))["outcome"] == "done"
    assert notified(acme) == ["hello"]


def test_a_rule_denies_and_another_allows(notify, acme):
    denied = create_rule(acme.owner, RuleFields(effect="deny", tool="notify.*"))
    words = notify.refused("notify_user", message="hello")
    assert words.startswith("denied: A rule of your organisation forbids this call of notify.notify_user.")
    argument = {"path": "urgency", "test": "equals", "value": "low"}
    create_rule(
        acme.owner,
        RuleFields.model_validate({"effect": "allow", "tool": "notify.*", "arguments": [argument]}),
    )
    assert notify("notify_user", message="hello", urgency="low")["seq"] == 1
    delete_rule(acme.owner, denied.id)
    assert notify("notify_user", message="hello")["seq"] == 2
    assert approval_of(acme) is None


def test_wrong_arguments_are_explained_and_ask_nobody(notify, acme):
    hold(acme)
    assert notify.refused("notify_user", message="").startswith("invalid:")
    assert approval_of(acme) is None


def test_waiting_itself_is_never_held(platform, acme):
    hold(acme, "*")
    missing = platform.refused("approval_wait", approval_id=str(uuid.uuid4()))
    assert missing.startswith("approval_not_found:")


def test_arguments_that_nobody_would_read_are_refused(notify, acme, monkeypatch):
    hold(acme)
    monkeypatch.setattr(held, "MAX_ARGUMENT_BYTES", 100)
    assert notify.refused("notify_user", message="x" * 100).startswith("body_too_large:")
    assert approval_of(acme) is None


@pytest.fixture
def risky(database, model_server, monkeypatch) -> Iterator[str]:
    """Serve a notify tool that is held where no rule speaks."""
    tools = tuple(dataclasses.replace(tool, default_hold=True) for tool in notify_server.SERVER.tools)
    server = dataclasses.replace(notify_server.SERVER, tools=tools)
    others = [known for known in http.TOOL_SERVERS if known.name != server.name]
    monkeypatch.setattr(http, "TOOL_SERVERS", (server, *others))
    with served(AgentHttp(Vendor(model_server.url, SecretStr("k")))) as url:
        yield url


def test_a_risky_tool_is_held_until_a_rule_allows_it(risky, working, acme):
    notify = Caller(risky, working, "notify")
    assert notify.refused("notify_user", message="hello").startswith("approval_pending:")
    approval = approval_of(acme)
    with pytest.raises(RoleMissing):
        decide_approval(acme.people["bob"], approval.id, "allow", "always")
    decide_approval(acme.owner, approval.id, "allow", "always")
    assert notify("notify_user", message="at once")
    with tenant_transaction(acme.organisation.id):
        rule = ApprovalRule.objects.get()
    assert (rule.effect, rule.tool, rule.agent_id) == ("allow", "notify.notify_user", working.task.agent_id)


def test_for_good_is_as_narrow_as_the_rule_that_held_it(notify, acme):
    argument = {"path": "urgency", "test": "equals", "value": "high"}
    hold(acme, "notify.*", arguments=[argument], priority=5)
    hold(acme, "*")
    notify.refused("notify_user", message="hello", urgency="high")
    decide_approval(acme.owner, approval_of(acme).id, "allow", "always")
    eventually(lambda: notified(acme))
    assert notify("notify_user", message="again", urgency="high")
    assert notify.refused("notify_user", message="again", urgency="low").startswith("approval_pending:")


# --- checked again --------------------------------------------------------------------------------------


def test_what_changed_meanwhile_is_found_before_a_call_is_made(notify, platform, working, acme):
    rule = hold(acme)

    def leave() -> None:
        with tenant_transaction(acme.organisation.id):
            Membership.objects.filter(user_id=acme.owner.user_id).delete()

    changes: dict[str, Callable[[], Any]] = {
        "A rule forbids": lambda: update_rule(acme.owner, rule.id, {"effect": "deny"}),
        "more people must agree": lambda: update_rule(acme.owner, rule.id, {"effect": "hold", "people": 2}),
        "may not use the server": lambda: update_agent(
            acme.owner, working.task.agent_id, {"mcp_servers": ["platform"]}
        ),
        "not the one any more": lambda: _replace_target(acme),
        "not in the organisation": leave,
    }
    for number, (reason, change) in enumerate(changes.items()):
        update_rule(acme.owner, rule.id, {"effect": "hold", "people": 1})
        update_agent(acme.owner, working.task.agent_id, {"mcp_servers": ["platform", "notify"]})
        notify.refused("notify_user", message=f"number {number}")
        approval = approval_of(acme)
        change()
        decide_approval(acme.people["bob"], approval.id, "allow")
        state = platform("approval_wait", approval_id=str(approval.id), timeout_s=5)
        assert (state["outcome"], reason in state["message"]) == ("refused", True), state
        assert state["message"].startswith("approval_void:")
    assert notified(acme) == []


def _replace_target(tenant: Tenant) -> None:
    with tenant_transaction(tenant.organisation.id):
        HeldCall.objects.update(target="of something else")


def test_a_call_whose_task_has_ended_is_not_made(notify, working, acme):
    hold(acme)
    notify.refused("notify_user", message="hello")
    approval = approval_of(acme)
    with recorded() as seen:
        working.end()
    assert [event.data["status"] for event in seen.events if event.type == "approval.decided"] == [
        "expired"
    ] * 2
    with pytest.raises(ApprovalClosed):
        decide_approval(acme.owner, approval.id, "allow")
    assert notified(acme) == []


def test_a_yes_just_after_the_end_is_refused_with_the_reason(notify, working, acme):
    hold(acme)
    notify.refused("notify_user", message="hello")
    approval = approval_of(acme)
    working.end()
    with tenant_transaction(acme.organisation.id):
        Approval.objects.update(status="pending")
    with pytest.raises(ApprovalClosed, match="The task that wanted this has ended: the call will not run"):
        decide_approval(acme.owner, approval.id, "allow")
    assert all_tenants_close_calls_of_ended_tasks() == 1


def test_a_task_that_is_being_cancelled_makes_no_more_calls(notify, working, acme):
    hold(acme)
    notify.refused("notify_user", message="hello")
    cancel_task(acme.owner, working.task.id)
    decide_approval(acme.owner, approval_of(acme).id, "allow")
    eventually(lambda: call_of(acme).state == "refused")
    assert notified(acme) == []


# --- once, whatever happens -----------------------------------------------------------------------------


def test_of_many_claims_one_wins_and_only_it_may_finish(working, acme, monkeypatch):
    approval = held_without_gateway(acme, working)
    decide_approval(acme.owner, approval.id, "allow")
    call, org_id = call_of(acme), acme.organisation.id
    claims: list[Any] = []

    def claim() -> None:
        claims.append(claim_call(org_id, call.id, "target"))
        connections.close_all()

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (won,) = [claim for claim in claims if claim is not None]
    assert won.arguments == {"message": "hello"}
    other = dataclasses.replace(won, token=uuid.uuid4())
    assert finish_call(other, {"content": []}) is False
    assert finish_call(won, {"content": []}) is True
    assert finish_call(won, {"content": []}) is False


def held_without_gateway(tenant: Tenant, working: Working) -> Approval:
    from services.domain.approvals.held import Wanted, hold_call
    from services.domain.approvals.rules import ToolUse, Verdict

    use = ToolUse("notify", "notify_user", {"message": "hello"}, working.task.agent_id)
    call = hold_call(
        working.task, Wanted(use, {"message": "hello"}, {"message": "hello"}, "target"), Verdict("hold")
    )
    with tenant_transaction(tenant.organisation.id):
        return Approval.objects.get(id=call.approval_id)


def test_a_call_whose_gateway_died_is_not_made_again_and_says_so(working, acme):
    approval = held_without_gateway(acme, working)
    decide_approval(acme.owner, approval.id, "allow")
    claim = claim_call(acme.organisation.id, call_of(acme).id, "target")
    assert claim is not None
    assert all_tenants_lose_held_calls() == 0
    with tenant_transaction(acme.organisation.id):
        HeldCall.objects.update(claim_until=now() - timedelta(seconds=1))
    assert held.look_at(working.task, approval.id).outcome == "lost"
    assert all_tenants_lose_held_calls() == 1
    assert claim_call(acme.organisation.id, call_of(acme).id, "target") is None
    assert "Look before you call again" in held.look_at(working.task, approval.id).reason
    # It was alive after all, and knows better.
    assert finish_call(claim, {"content": []}) is True


def test_a_decision_is_carried_out_by_the_next_gateway(working, acme, model_server):
    hold(acme)
    with served(AgentHttp(Vendor(model_server.url, SecretStr("k")))) as url:
        Caller(url, working, "notify").refused("notify_user", message="hello")
    decide_approval(acme.owner, approval_of(acme).id, "allow")
    assert notified(acme) == []
    with served(AgentHttp(Vendor(model_server.url, SecretStr("k")))) as url:
        assert Caller(url, working, "notify")("notify_user", message="hello")["seq"] == 1
    assert notified(acme) == ["hello"]


def test_what_was_held_is_wiped_a_day_after_its_task(working, acme):
    held_without_gateway(acme, working)
    working.end()
    assert all_tenants_forget_held_calls() == 0
    with tenant_transaction(acme.organisation.id):
        Task.objects.update(finished_at=now() - timedelta(days=2))
    assert all_tenants_forget_held_calls() == 1
    assert bytes(call_of(acme).sealed_arguments) == b""


# --- whose it is ----------------------------------------------------------------------------------------


def test_nobody_waits_for_the_approvals_of_others(gateway, notify, acme, globex, claude):
    hold(acme)
    notify.refused("notify_user", message="hello")
    approval = approval_of(acme)
    others = (at_work(globex, globex.agent), at_work(acme, claude))
    for other in others:
        words = Caller(gateway, other, "platform").refused("approval_wait", approval_id=str(approval.id))
        assert words.startswith("approval_not_found:")


def test_the_rules_of_one_organisation_are_not_those_of_another(gateway, acme, globex, working):
    hold(acme, "*")
    assert Caller(gateway, at_work(globex, globex.agent), "notify")("notify_user", message="free")["seq"] == 1


# --- the turn's clock -----------------------------------------------------------------------------------


def test_the_clock_stands_still_while_a_person_decides(notify, platform, working, acme, monkeypatch):
    monkeypatch.setattr(environment(), "mcp_hold_wait_s", 10.0)
    hold(acme)
    before = fresh(working.task).deadline_at
    with recorded() as seen:
        waiting = Waiting(lambda: notify("notify_user", message="hello"))
        eventually(lambda: fresh(working.task).status == "waiting")
        assert fresh(working.task).deadline_at > before
        (work,) = all_tenants_link_work([working.task.id]).values()
        assert work.extended_s > fresh(working.task).timeout_s
        with tenant_transaction(acme.organisation.id):
            # As if it had waited for three seconds by now.
            Task.objects.update(waiting_seen_at=now() - timedelta(seconds=3))
        decide_approval(acme.owner, approval_of(acme).id, "allow")
        waiting.answer()
    task = eventually(lambda: (found := fresh(working.task)).status == "running" and found)
    assert 3_000 <= task.waited_ms < 8_000
    assert task.deadline_at == before + timedelta(milliseconds=task.waited_ms)
    told = [
        (event.type, event.data.get("waited_ms")) for event in seen.events if event.type.startswith("task.")
    ]
    assert told == [("task.waiting", None), ("task.resumed", task.waited_ms)]


def test_a_turn_that_works_meanwhile_does_not_wait(notify, working, acme):
    hold(acme)
    working.runner.says("tool.called", call_id="1", name="Bash", input={})
    working.runner.says("tool.called", call_id="2", name="notify_user", input={})
    with recorded() as seen:
        notify.refused("notify_user", message="hello")
    assert "task.waiting" not in seen.event_types
    working.runner.says("tool.returned", call_id="1")
    with recorded() as seen:
        notify.refused("notify_user", message="hello")
    assert "task.waiting" in seen.event_types


def test_a_clock_that_nobody_holds_runs_on(notify, working, acme, monkeypatch):
    from services.domain.tasks.waiting import note_waiting

    assert note_waiting(working.task, reason="question") is True
    assert all_tenants_wake_unseen() == 0
    with tenant_transaction(acme.organisation.id):
        Task.objects.update(waiting_seen_at=now() - timedelta(minutes=5))
    assert all_tenants_wake_unseen() == 1
    task = fresh(working.task)
    # What nobody saw is not given.
    assert (task.status, task.waited_ms) == ("running", 15_000)


def test_an_expiry_ends_the_wait(notify, acme, monkeypatch):
    monkeypatch.setattr(environment(), "mcp_hold_wait_s", 10.0)
    hold(acme)
    waiting = Waiting(lambda: notify.refused("notify_user", message="hello"))
    eventually(lambda: approval_of(acme))
    with tenant_transaction(acme.organisation.id):
        Approval.objects.update(expires_at=now())
    all_tenants_expire_approvals()
    assert waiting.answer().startswith("approval_expired:")
