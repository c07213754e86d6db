"""Setting budgets, and how far they are used."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from django.db import connection
from django.db.models import Prefetch, Q, QuerySet, prefetch_related_objects
from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.domain.actors import Actor, require
from services.domain.agents.models import Agent
from services.domain.errors import AgentMissing, BudgetMissing, Missing, PlaybookMissing
from services.domain.events.announcing import announce_change
from services.domain.events.listed import BudgetChanged
from services.domain.identity.models import Membership
from services.domain.llm.models import Budget, BudgetLevel, BudgetPeriod, BudgetSpent
from services.domain.llm.periods import bucket_of, renewal_of, start_of
from services.domain.playbooks.models import Playbook, PlaybookRun
from services.domain.tasks.models import FINAL
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.ids import uuid7

PERIODS = {
    BudgetLevel.ORGANISATION: (BudgetPeriod.DAY, BudgetPeriod.MONTH),
    BudgetLevel.PERSON: (BudgetPeriod.DAY, BudgetPeriod.MONTH),
    BudgetLevel.AGENT: (BudgetPeriod.DAY, BudgetPeriod.MONTH),
    BudgetLevel.PLAYBOOK: (BudgetPeriod.RUN, BudgetPeriod.MONTH),
}
MAX_LIMIT_MICROUSD = 10**15
_ADMINS = ("owner", "admin")

# The records of calls that count towards a budget. A run counts with all that its task passed on.
_TREES = """
WITH RECURSIVE tree AS (
    SELECT task_id AS id FROM playbook_run WHERE {runs} AND task_id IS NOT NULL
    UNION SELECT t.id FROM task t JOIN tree ON t.parent_id = tree.id
) SELECT id FROM tree
"""
_COUNTING = {
    BudgetLevel.ORGANISATION: "created_at >= %(since)s",
    BudgetLevel.PERSON: "created_at >= %(since)s AND (user_id = %(subject)s "
    "OR task_id IN (SELECT id FROM task WHERE user_id = %(subject)s))",
    BudgetLevel.AGENT: "created_at >= %(since)s AND (agent_id = %(subject)s "
    "OR task_id IN (SELECT id FROM task WHERE agent_id = %(subject)s))",
    BudgetLevel.PLAYBOOK: f"created_at >= %(since)s AND task_id IN ({_TREES.format(runs='playbook_id = %(subject)s')})",
}
_OF_RUN = f"task_id IN ({_TREES.format(runs='id = %(run)s')})"
_UNDER_WAY = "SELECT id FROM usage_record WHERE cost_microusd IS NULL"
_SUMS = (
    "SELECT coalesce(sum(cost_microusd), 0)::bigint, "
    "coalesce(sum(reserved_microusd) FILTER (WHERE cost_microusd IS NULL), 0)::bigint"
)


class BudgetFields(BaseModel):
    """A budget: whose, in which period, and how much."""

    model_config = ConfigDict(extra="forbid")

    level: BudgetLevel
    period: BudgetPeriod
    subject_id: uuid.UUID | None = None
    limit_microusd: int = Field(ge=0, le=MAX_LIMIT_MICROUSD)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.period not in PERIODS[self.level]:
            raise ValueError(f"a budget of this level counts by {' or '.join(PERIODS[self.level])}")
        if (self.subject_id is None) != (self.level == BudgetLevel.ORGANISATION):
            raise ValueError("every level but the organisation names a subject_id")
        return self


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget and how far its current period is used; of runs it is the latest."""

    budget: Budget
    spent_microusd: int
    reserved_microusd: int
    renews_at: datetime | None

    @property
    def remaining_microusd(self) -> int:
        """Return what is left for further calls."""
        return max(0, self.budget.limit_microusd - self.spent_microusd - self.reserved_microusd)


def put_budget(actor: Actor, fields: BudgetFields) -> Budget:
    """Set a budget, or the limit of the one that is there. What was spent in the period before it counts.

    Locks: out of every reservation of the organisation, for as long as it takes to add up what was spent.
    Raises: RoleMissing, AgentMissing, PlaybookMissing, Missing.
    """
    require(actor, "budgets:write", role="admin")
    with tenant_transaction(actor.org_id):
        _lock_out_reservations(actor)
        _check_subject(fields)
        key = {"level": fields.level, "period": fields.period, "subject_id": fields.subject_id}
        budget = Budget.objects.filter(**key).first()
        if budget is None:
            budget = Budget.objects.create(org_id=actor.org_id, limit_microusd=fields.limit_microusd, **key)
            _count_from_start(budget)
            announce_change(BudgetChanged, budget, "created")
        elif budget.limit_microusd != fields.limit_microusd:
            budget.limit_microusd, budget.updated_at = fields.limit_microusd, now()
            budget.save(update_fields=["limit_microusd", "updated_at"])
            announce_change(BudgetChanged, budget)
            # People hear of this limit's shares anew.
            BudgetSpent.objects.filter(budget=budget).update(noticed=0)
        return budget


def delete_budget(actor: Actor, budget_id: uuid.UUID) -> None:
    """Remove a budget with what was counted for it. Raises: BudgetMissing, RoleMissing."""
    require(actor, "budgets:write", role="admin")
    with tenant_transaction(actor.org_id):
        _lock_out_reservations(actor)
        budget = get_budget(actor, budget_id)
        announce_change(BudgetChanged, budget, "deleted")
        budget.delete()


def list_budgets(actor: Actor) -> QuerySet[Budget]:
    """Return the budgets that the actor may see: a person's is that person's and the admins'. In the transaction."""
    require(actor, "budgets:read")
    rows = Budget.objects.prefetch_related(_current_periods(now()))
    if actor.role in _ADMINS:
        return rows
    return rows.filter(~Q(level=BudgetLevel.PERSON) | Q(subject_id=actor.user_id))


def get_budget(actor: Actor, budget_id: uuid.UUID) -> Budget:
    """Return one budget, in the tenant's transaction. Raises: BudgetMissing."""
    budget = list_budgets(actor).filter(id=budget_id).first()
    if budget is None:
        raise BudgetMissing("There is no such budget.")
    return budget


def state_of(budget: Budget) -> BudgetState:
    """Return how far a budget is used now, in the tenant's transaction."""
    moment = now()
    # Of one of a list they are there already; they are used once, for later they would be old.
    prefetch_related_objects([budget], _current_periods(moment))
    periods: list[BudgetSpent] = vars(budget).pop("current_periods")
    spent = periods[0] if periods else None
    return BudgetState(
        budget,
        spent.spent_microusd if spent is not None else 0,
        spent.reserved_microusd if spent is not None else 0,
        renewal_of(budget.period, moment),
    )


def _current_periods(moment: datetime) -> Prefetch[Any, Any, Any]:
    """Return how to read the current period of many budgets at once; of runs it is the latest."""
    buckets = [bucket_of(period, moment) for period in BudgetPeriod if period != BudgetPeriod.RUN]
    rows = BudgetSpent.objects.filter(Q(bucket__in=buckets) | Q(budget__period=BudgetPeriod.RUN))
    newest = rows.order_by("budget_id", "-created_at").distinct("budget_id")
    return Prefetch("spent", newest, to_attr="current_periods")


def _lock_out_reservations(actor: Actor) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"llm_budget/{actor.org_id}"]
        )


def _check_subject(fields: BudgetFields) -> None:
    subject = fields.subject_id
    if subject is None:
        return
    match fields.level:
        case BudgetLevel.PERSON if not Membership.objects.filter(user_id=subject).exists():
            raise Missing("There is no such member.")
        case BudgetLevel.AGENT if not Agent.objects.filter(id=subject).exists():
            raise AgentMissing("There is no such agent.")
        case BudgetLevel.PLAYBOOK if not Playbook.objects.filter(id=subject).exists():
            raise PlaybookMissing("There is no such playbook.")


def _count_from_start(budget: Budget) -> None:
    """Add up what the current period has cost before this budget was there, also what is set aside."""
    moment = now()
    if budget.period != BudgetPeriod.RUN:
        since = start_of(budget.period, moment)
        where = _COUNTING[BudgetLevel(budget.level)]
        _count(
            budget, bucket_of(budget.period, moment), where, {"since": since, "subject": budget.subject_id}
        )
        return
    if budget.subject_id is None:
        return
    runs = PlaybookRun.objects.filter(playbook_id=budget.subject_id).exclude(task=None)
    for run_id in runs.exclude(task__status__in=FINAL).values_list("id", flat=True):
        _count(budget, str(run_id), _OF_RUN, {"run": run_id})


def _count(budget: Budget, bucket: str, where: str, values: Mapping[str, Any]) -> None:
    period_id = uuid7()
    with connection.cursor() as cursor:
        # Those under way are settled into this period too. Whoever is settling one right now is waited for.
        cursor.execute(f"{_UNDER_WAY} AND {where} ORDER BY id FOR UPDATE", values)
        under_way = [row[0] for row in cursor.fetchall()]
        cursor.execute(
            "UPDATE usage_record SET period_ids = array_append(period_ids, %s) WHERE id = ANY(%s)",
            [period_id, under_way],
        )
        cursor.execute(
            f"{_SUMS} FROM usage_record WHERE {where}",
            values,
        )
        spent, reserved = cursor.fetchone()
    BudgetSpent.objects.create(
        id=period_id,
        org_id=budget.org_id,
        budget=budget,
        bucket=bucket,
        spent_microusd=spent,
        reserved_microusd=reserved,
    )
