"""Budgets for models over REST. Money goes in and out as whole micro-dollars; `…_usd` shows it as a decimal text."""

from __future__ import annotations

import uuid
from typing import Self

from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Moment, Page, Shape, to_usd
from services.domain.errors import AgentMissing, BudgetMissing, Missing, PlaybookMissing
from services.domain.llm.budgets import (
    BudgetFields,
    delete_budget,
    get_budget,
    list_budgets,
    put_budget,
    state_of,
)
from services.domain.llm.models import Budget, BudgetLevel, BudgetPeriod


class BudgetShape(Shape):
    """A budget, and how far its current period is used; of the runs of a playbook it is the latest."""

    id: uuid.UUID
    level: BudgetLevel
    period: BudgetPeriod
    subject_id: uuid.UUID | None
    limit_microusd: int
    limit_usd: str
    spent_microusd: int
    reserved_microusd: int
    remaining_microusd: int
    renews_at: Moment | None
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, budget: Budget) -> Self:
        """Show a row with its sums."""
        found = state_of(budget)
        return cls(
            id=budget.id,
            level=BudgetLevel(budget.level),
            period=BudgetPeriod(budget.period),
            subject_id=budget.subject_id,
            limit_microusd=budget.limit_microusd,
            limit_usd=to_usd(budget.limit_microusd) or "",
            spent_microusd=found.spent_microusd,
            reserved_microusd=found.reserved_microusd,
            remaining_microusd=found.remaining_microusd,
            renews_at=found.renews_at,
            created_at=budget.created_at,
            updated_at=budget.updated_at,
        )


class Budgets(Endpoint):
    """All budgets."""

    tag = "budgets"

    @operation()
    def get(self, call: Call, query: PageQuery) -> Page[BudgetShape]:
        """List the budgets, newest first, with what is spent of each."""
        return page_of(list_budgets(call.actor), query, BudgetShape.of)

    @operation(errors=(AgentMissing, PlaybookMissing, Missing))
    def put(self, call: Call, body: BudgetFields) -> BudgetShape:
        """Set the budget of a level, a period and a subject; what its period has cost already counts."""
        return BudgetShape.of(put_budget(call.actor, body))


class OneBudget(Endpoint):
    """One budget."""

    tag = "budgets"

    @operation(errors=(BudgetMissing,))
    def get(self, call: Call, budget_id: uuid.UUID) -> BudgetShape:
        """Show a budget and what is spent of it."""
        return BudgetShape.of(get_budget(call.actor, budget_id))

    @operation(errors=(BudgetMissing,))
    def delete(self, call: Call, budget_id: uuid.UUID) -> None:
        """Remove a budget."""
        delete_budget(call.actor, budget_id)
