"""Approvals: asked once, decided by people, and what a yes opens."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest

from conftest import Tenant, recorded
from services.domain.actors import Actor
from services.domain.agents.actions import update_agent
from services.domain.agents.models import Agent
from services.domain.approvals.actions import (
    MAX_PENDING,
    all_tenants_expire_approvals,
    decide_approval,
)
from services.domain.approvals.models import Approval
from services.domain.approvals.queries import count_pending_approvals
from services.domain.egress.policy import Policy, all_tenants_find_policy
from services.domain.egress.refusals import HOST_REFUSED, METHOD_REFUSED, Refusal, record_refusals
from services.domain.errors import ApprovalClosed, ApprovalMissing, NotPermitted, RoleMissing, ScopeMissing
from services.domain.plane.actions import renew_links
from services.domain.plane.models import Sandbox
from services.domain.tasks.queries import agent_actor
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from tests.domain.cast import Runner, running


def policy_of(runner: Runner) -> Policy:
    """Return the policy of a sandbox at work."""
    policy = all_tenants_find_policy(runner.sandbox_id)
    assert policy is not None
    return policy


def refuse(runner: Runner, host: str = "api.example.com", **fields: Any) -> Approval | None:
    """Have a host refused; returns the approval that it led to."""
    refusal = Refusal(host, 443, **{"method": "CONNECT", "reason": HOST_REFUSED, **fields})
    record_refusals(policy_of(runner), [refusal])
    with tenant_transaction(runner.task.org_id):
        return Approval.objects.filter(subject__host=host).order_by("-id").first()


def asked(runner: Runner, **fields: Any) -> Approval:
    """Have a host refused that a person may allow."""
    approval = refuse(runner, **fields)
    assert approval is not None
    return approval


def test_a_refusal_is_shown_and_asked_about_once(acme: Tenant) -> None:
    task, runner = running(acme)
    with recorded() as seen:
        first = refuse(runner)
        second = refuse(runner, count=7)
    assert first is not None
    assert first == second
    assert seen.event_types == [
        "approval.requested",
        "egress.refused",
        "approval.requested",
        "egress.refused",
    ]
    assert [event.stream.partition(":")[0] for event in seen.events] == [
        "workspace",
        "workspace",
        "org",
        "workspace",
    ]
    assert seen.events[-1].data == {
        "host": "api.example.com", "port": 443, "method": "CONNECT", "reason": HOST_REFUSED, "count": 7,
        "approval_id": str(first.id),
    }  # fmt: skip
    assert all(event.task_id == task.id for event in seen.events)
    with tenant_transaction(task.org_id):
        assert count_pending_approvals(acme.owner) == 1


def test_allowed_once_opens_the_host_for_this_workspace_only(acme: Tenant) -> None:
    task, runner = running(acme)
    _, elsewhere = running(acme)
    assert policy_of(runner).find_grant("api.example.com", 443) is None
    with recorded() as seen:
        decided = decide_approval(acme.people["bob"], asked(runner).id, "allow")
    assert (decided.status, decided.scope, decided.decided_by_id) == ("allowed", "once", acme.users["bob"].pk)
    assert seen.event_types[-2:] == ["approval.decided", "approval.decided"]
    assert policy_of(runner).find_grant("api.example.com", 443) is not None
    assert policy_of(runner).find_grant("api.example.com", 80) is None
    assert policy_of(elsewhere).find_grant("api.example.com", 443) is None
    with tenant_transaction(task.org_id):
        assert Agent.objects.get(id=acme.agent.id).egress == []


def test_allowed_always_is_written_into_the_agents_list(acme: Tenant) -> None:
    task, runner = running(acme)
    _, elsewhere = running(acme)
    approval = asked(runner)
    decide_approval(acme.owner, approval.id, "allow", "always")
    assert policy_of(elsewhere).find_grant("api.example.com", 443) is not None
    with tenant_transaction(task.org_id):
        assert Agent.objects.get(id=acme.agent.id).egress == [
            {"host": "api.example.com", "port": 443, "methods": None}
        ]
    update_agent(acme.owner, acme.agent.id, {"egress": []})
    assert policy_of(runner).find_grant("api.example.com", 443) is None
    with pytest.raises(ApprovalClosed):
        decide_approval(acme.owner, approval.id, "deny")


def test_a_method_is_allowed_beside_those_of_the_list(acme: Tenant) -> None:
    update_agent(acme.owner, acme.agent.id, {"egress": [{"host": "api.example.com", "methods": ["get"]}]})
    _, runner = running(acme)
    decide_approval(acme.owner, asked(runner, method="POST", reason=METHOD_REFUSED).id, "allow")
    grant = policy_of(runner).find_grant("api.example.com", 443)
    assert grant is not None
    assert sorted(grant.methods or ()) == ["GET", "POST"]


def test_denied_is_not_asked_again_and_may_be_thought_better_of(acme: Tenant) -> None:
    _, runner = running(acme)
    approval = asked(runner)
    decide_approval(acme.owner, approval.id, "deny")
    with recorded() as seen:
        assert refuse(runner) == approval
    assert seen.event_types == ["egress.refused"]
    decide_approval(acme.owner, approval.id, "allow")
    assert policy_of(runner).find_grant("api.example.com", 443) is not None
    decide_approval(acme.owner, approval.id, "deny")
    assert policy_of(runner).find_grant("api.example.com", 443) is None


def test_what_nobody_can_cure_is_shown_and_not_asked_about(acme: Tenant) -> None:
    _, runner = running(acme)
    assert refuse(runner, host="10.0.0.1", reason="address_not_public") is None
    assert refuse(runner, host="169.254.169.254") is None
    assert refuse(runner, method="PROPFIND", reason=METHOD_REFUSED) is None


def test_a_flood_of_hosts_asks_only_so_often(acme: Tenant) -> None:
    _, runner = running(acme)
    refusals = [
        Refusal(f"h{number}.example.com", 443, "CONNECT", HOST_REFUSED) for number in range(MAX_PENDING + 5)
    ]
    record_refusals(policy_of(runner), refusals)
    with tenant_transaction(runner.task.org_id):
        assert count_pending_approvals(acme.owner) == MAX_PENDING


def test_nobody_decides_in_time_and_it_expires(acme: Tenant) -> None:
    _, runner = running(acme)
    approval = asked(runner)
    with tenant_transaction(runner.task.org_id):
        Approval.objects.update(expires_at=now() - timedelta(seconds=1))
    with pytest.raises(ApprovalClosed):
        decide_approval(acme.owner, approval.id, "allow")
    with recorded() as seen:
        assert all_tenants_expire_approvals() == 1
        assert all_tenants_expire_approvals() == 0
    assert [event.data["status"] for event in seen.events] == ["expired", "expired"]
    assert asked(runner).id != approval.id


def test_who_may_decide(acme: Tenant, globex: Tenant) -> None:
    _, runner = running(acme)
    approval_id = asked(runner).id
    narrow = Actor(acme.organisation.id, "token", "owner", scopes=frozenset({"workspaces:write"}))
    with pytest.raises(NotPermitted):
        decide_approval(agent_actor(runner.task), approval_id, "allow")
    with pytest.raises(ScopeMissing):
        decide_approval(narrow, approval_id, "allow", "always")
    with pytest.raises((RoleMissing, ScopeMissing)):
        decide_approval(Actor(acme.organisation.id, "user", "viewer"), approval_id, "allow")
    with pytest.raises(ApprovalMissing):
        decide_approval(globex.owner, approval_id, "allow")
    with pytest.raises(ApprovalMissing):
        decide_approval(acme.owner, uuid.uuid4(), "allow")
    assert decide_approval(narrow, approval_id, "allow").status == "allowed"


def test_there_is_a_policy_only_while_somebody_is_at_work(acme: Tenant) -> None:
    update_agent(acme.owner, acme.agent.id, {"egress": [{"host": "*.example.com", "port": None}]})
    _, runner = running(acme)
    assert policy_of(runner).find_grant("a.example.com", 22) is not None
    runner.says("turn.done", status="succeeded", text="done")
    renew_links([runner.sandbox_id])
    assert all_tenants_find_policy(runner.sandbox_id) is None
    Sandbox.objects.filter(id=runner.sandbox_id).update(held_until=now() + timedelta(minutes=1))
    held = policy_of(runner)
    assert held.task_id is None
    assert held.find_grant("a.example.com", 22) is not None
    assert all_tenants_find_policy(uuid.uuid4()) is None
