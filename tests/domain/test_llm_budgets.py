"""Budgets at every level: they hold with any number of calls at once, count what came before, and tell people."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections

from conftest import recorded
from services.domain.agents.actions import AgentFields, create_agent
from services.domain.errors import (
    AgentMissing,
    BudgetExceeded,
    BudgetMissing,
    Missing,
    PlaybookMissing,
    RoleMissing,
)
from services.domain.llm.budgets import (
    BudgetFields,
    BudgetState,
    delete_budget,
    get_budget,
    list_budgets,
    put_budget,
    state_of,
)
from services.domain.llm.models import BudgetSpent
from services.domain.llm.periods import renewal_of
from services.domain.llm.rates import Tokens
from services.domain.llm.spending import Reserved, all_tenants_settle_abandoned, reserve, settle
from services.domain.playbooks.actions import PlaybookFields, create_playbook, run_playbook
from services.domain.tasks.models import Task, UsageRecord
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from tests.domain.cast import fresh, submit

MODEL = "claude-sonnet-4-6"
DIME = Tokens(output=6_666)  # 99,990 micro-dollars: ten of them fit into a dollar
DOLLAR = 1_000_000


def set_aside(task: Task, most: Tokens = DIME) -> Reserved:
    return reserve(task.org_id, task.id, kind="llm", model=MODEL, most=most)


def limit(tenant, level="organisation", period="day", subject_id=None, microusd=DOLLAR):
    return put_budget(
        tenant.owner,
        BudgetFields(level=level, period=period, subject_id=subject_id, limit_microusd=microusd),
    )


def state(tenant, budget) -> BudgetState:
    with tenant_transaction(tenant.organisation.id):
        return state_of(budget)


def a_run(tenant, name="Nightly"):
    """Fire a new playbook; returns it and the task of its run."""
    playbook, _ = create_playbook(
        tenant.owner, PlaybookFields(agent_id=tenant.agent.id, name=name, prompt="p")
    )
    run = run_playbook(tenant.owner, playbook.id)
    assert run.task is not None
    return playbook, run.task


def spend(task: Task) -> bool:
    """Make one call that uses all that was set aside for it; say whether it was let through."""
    try:
        settle(set_aside(task), DIME)
    except BudgetExceeded:
        return False
    finally:
        connections.close_all()
    return True


LEVELS = [
    ("task", ""), ("organisation", "day"), ("organisation", "month"), ("person", "day"), ("person", "month"),
    ("agent", "day"), ("agent", "month"), ("playbook", "run"), ("playbook", "month"),
]  # fmt: skip


@pytest.mark.parametrize(("level", "period"), LEVELS)
def test_twenty_turns_at_once_spend_at_most_one_dollar(acme, level, period):
    if level == "task":
        tasks = [submit(acme, max_budget_microusd=DOLLAR)] * 20
    elif level == "playbook":
        playbook, task = a_run(acme)
        children = [submit(acme) for _ in range(3)]
        Task.objects.using("operator").filter(id__in=[child.id for child in children]).update(
            parent_id=task.id
        )
        tasks = [task, *children] * 5
        budget = limit(acme, level, period, playbook.id)
    else:
        subject = {"person": acme.owner.user_id, "agent": acme.agent.id}.get(level)
        budget = limit(acme, level, period, subject)
        tasks = [submit(acme) for _ in range(20)]
    with ThreadPoolExecutor(20) as threads:
        passed = sum(threads.map(spend, tasks * 2))
    assert passed == 10
    if level == "task":
        assert fresh(tasks[0]).cost_microusd == 10 * 99_990
    else:
        found = state(acme, budget)
        assert (found.spent_microusd, found.reserved_microusd) == (10 * 99_990, 0)
        assert found.remaining_microusd == 100


def test_one_turn_that_needs_all_of_several_budgets_takes_from_each_or_from_none(acme):
    wide, narrow = limit(acme), limit(acme, "agent", "month", acme.agent.id, 150_000)
    task = submit(acme)
    set_aside(task)
    with pytest.raises(BudgetExceeded) as refused:
        set_aside(task)
    assert (refused.value.details["level"], refused.value.details["period"]) == ("agent", "month")
    assert [state(acme, budget).reserved_microusd for budget in (wide, narrow)] == [99_990, 99_990]


def test_what_is_spent_or_set_aside_before_a_budget_is_set_counts(acme):
    task = submit(acme)
    settle(set_aside(task), DIME)
    under_way = set_aside(task)
    for level, subject in (
        ("organisation", None), ("person", acme.owner.user_id), ("agent", acme.agent.id),
    ):  # fmt: skip
        budget = limit(acme, level, "month", subject)
        found = state(acme, budget)
        assert (found.spent_microusd, found.reserved_microusd) == (99_990, 99_990), level
    settle(under_way, Tokens())
    assert (state(acme, budget).spent_microusd, state(acme, budget).reserved_microusd) == (99_990, 0)


def test_a_run_that_is_under_way_counts_from_its_start(acme):
    playbook, task = a_run(acme)
    child = submit(acme)
    Task.objects.using("operator").filter(id=child.id).update(parent_id=task.id)
    settle(set_aside(child), DIME)
    budget = limit(acme, "playbook", "run", playbook.id)
    assert state(acme, budget).spent_microusd == 99_990
    second = run_playbook(acme.owner, playbook.id).task
    assert sum(spend(second) for _ in range(12)) == 10
    assert spend(task)


def test_budgets_of_others_are_left_alone(acme, globex):
    other = create_agent(acme.owner, AgentFields(name="Other"))
    others = [limit(acme, "agent", "day", other.id), limit(acme, "person", "day", acme.people["bob"].user_id)]
    set_aside(submit(acme))
    set_aside(submit(globex))
    assert [state(acme, budget).reserved_microusd for budget in others] == [0, 0]


def test_calls_whose_gateway_died_give_back_what_they_set_aside_in_budgets(acme):
    budget = limit(acme)
    call = set_aside(submit(acme))
    UsageRecord.objects.using("operator").filter(id=call.record_id).update(
        created_at=now() - timedelta(hours=1)
    )
    assert all_tenants_settle_abandoned(older_than=timedelta(minutes=30)) == 1
    found = state(acme, budget)
    assert (found.spent_microusd, found.reserved_microusd) == (99_990, 0)


def test_a_refusal_says_which_budget_and_when_it_renews(acme):
    budget = limit(acme, microusd=10)
    with pytest.raises(BudgetExceeded) as refused:
        set_aside(submit(acme))
    error = refused.value
    renews = renewal_of("day", now())
    assert error.details["budget_id"] == str(budget.id)
    assert error.details["renews_at"].startswith(f"{renews:%Y-%m-%d}T00:00:00")
    assert 0 < error.retry_after_s <= 86_400
    assert "budget of the organisation for the day is $0.0001" in error.message


def test_a_month_renews_on_its_first():
    assert f"{renewal_of('month', now().replace(month=12, day=31)):%m-%d}" == "01-01"
    assert f"{renewal_of('month', now().replace(month=2, day=1)):%m-%d}" == "03-01"
    assert renewal_of("run", now()) is None


def test_a_new_period_begins_with_nothing_spent(acme, monkeypatch):
    budget = limit(acme)
    task = submit(acme)
    settle(set_aside(task), DIME)
    tomorrow = now() + timedelta(days=1)
    for module in ("spending", "budgets"):
        monkeypatch.setattr(f"services.domain.llm.{module}.now", lambda: tomorrow)
    assert state(acme, budget).spent_microusd == 0
    assert sum(spend(task) for _ in range(12)) == 10


def test_people_are_told_once_at_a_half_at_four_fifths_and_at_the_end(acme):
    limit(acme)
    task = submit(acme)
    with recorded() as seen:
        for _ in range(13):
            spend(task)
    reached = [event for event in seen.events if event.type == "budget.reached"]
    # Ten dimes fit: five are a hair less than a half.
    assert [event.data["share"] for event in reached] == [50, 80, 100]
    assert {event.stream for event in reached} == {f"org:{acme.organisation.id}"}
    told = [event.data["message"] for event in seen.events if event.type == "notification.created"]
    assert len([text for text in told if text.startswith("Models: 50 %")]) == 1
    assert told[-1].endswith("is spent. Further calls are refused.")


def test_at_once_people_are_still_told_once(acme):
    limit(acme)
    tasks = [submit(acme) for _ in range(20)]
    with recorded() as seen, ThreadPoolExecutor(20) as threads:
        list(threads.map(spend, tasks * 2))
    shares = [event.data["share"] for event in seen.events if event.type == "budget.reached"]
    assert len(shares) == len(set(shares))
    assert 100 in shares


def test_a_higher_limit_lets_calls_through_again_and_tells_anew(acme):
    limit(acme, microusd=99_990)
    task = submit(acme)
    assert (spend(task), spend(task)) == (True, False)
    limit(acme, microusd=DOLLAR)
    assert sum(spend(task) for _ in range(12)) == 9
    with tenant_transaction(acme.organisation.id):
        assert BudgetSpent.objects.get().noticed == 100


def test_a_deleted_budget_bounds_nothing_and_calls_under_way_still_settle(acme):
    budget = limit(acme)
    task = submit(acme)
    call = set_aside(task)
    delete_budget(acme.owner, budget.id)
    assert settle(call, DIME)
    assert all(spend(task) for _ in range(12))


def test_only_admins_set_budgets_and_only_for_what_is_theirs(acme, globex):
    with pytest.raises(RoleMissing):
        put_budget(acme.people["bob"], BudgetFields(level="organisation", period="day", limit_microusd=1))
    theirs, _ = a_run(globex)
    for level, period, subject, error in (
        ("agent", "month", globex.agent.id, AgentMissing),
        ("playbook", "run", theirs.id, PlaybookMissing),
        ("person", "day", uuid.uuid4(), Missing),
    ):
        with pytest.raises(error):
            limit(acme, level, period, subject)
    mine = limit(acme)
    for act in (delete_budget, get_budget):
        with pytest.raises(BudgetMissing), tenant_transaction(globex.organisation.id):
            act(globex.owner, mine.id)
    with tenant_transaction(globex.organisation.id):
        assert list(list_budgets(globex.owner)) == []


@pytest.mark.parametrize(
    ("level", "period", "subject_id"),
    [
        ("organisation", "run", None), ("organisation", "day", uuid.uuid4()), ("agent", "month", None),
        ("playbook", "day", uuid.uuid4()), ("task", "day", None),
    ],
)  # fmt: skip
def test_budgets_that_make_no_sense_are_refused(level, period, subject_id):
    with pytest.raises(ValueError, match="validation error"):
        BudgetFields(level=level, period=period, subject_id=subject_id, limit_microusd=1)
