"""Money for model calls: reserved before a call, settled once after it, so that budgets hold.

A task's own budget covers the task and all that it passed on to other agents, however deep; those of organisation,
person, agent and playbook are rows of `llm_budget`. Each of the two steps is one trip to the database.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connection

from services.domain.errors import BudgetExceeded, Conflict, TaskMissing, TokenInvalid
from services.domain.llm.notices import tell_refused, tell_shares
from services.domain.llm.periods import day_of, month_of, renewal_of
from services.domain.llm.prices import load_price_book
from services.domain.llm.rates import Price, Tokens
from services.domain.tasks.models import UsageRecord
from services.kit.clock import now, rfc3339
from services.kit.ids import uuid7

_BATCH = 500
_RESERVE = "SELECT llm_reserve(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
_SETTLE = "SELECT llm_settle(%s, %s, %s, %s, %s, %s)"


class RulesChanged(Conflict):
    """The call was judged by rules that are not the newest any more; nothing is reserved."""

    code = "rules_changed"


@dataclass(frozen=True, slots=True)
class Charged:
    """Whom a call is for that is made before there is a task: their budgets are asked, beside the organisation's."""

    agent_id: uuid.UUID | None = None
    user_id: uuid.UUID | None = None
    chat_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Reserved:
    """Money set aside for a call: its record, and the price of the moment at which the call began."""

    org_id: uuid.UUID
    task_id: uuid.UUID | None
    record_id: uuid.UUID
    price: Price | None


def reserve(
    org_id: uuid.UUID,
    task_id: uuid.UUID | None,
    *,
    kind: str,
    model: str,
    most: Tokens,
    price: Price | None = None,
    llm_key_id: uuid.UUID | None = None,
    versions: tuple[int, int] | None = None,
    charged: Charged | None = None,
) -> Reserved:
    """Set money aside for the most that a call may cost, and return what settles it.

    Any number of calls may ask at once: rows are locked, so none sees room that another has taken.
    Locks: the task and those that it comes from, the oldest first, then the budgets' periods.
    `versions` are those of the rules by which the call was judged, the organisation's and the platform's. Without a
    task, `charged` says whose call it is.
    Raises: BudgetExceeded, TaskMissing, TokenInvalid when the task has ended meanwhile, RulesChanged.
    """
    moment = now()
    if price is None:
        price = load_price_book().price_of(model, moment)
    estimate, record_id, whose = price.most_of(most), uuid7(), charged or Charged()
    found = _call(
        _RESERVE,
        org_id, task_id, record_id, kind, model[:100], llm_key_id, estimate, json.dumps(price.to_json()),
        moment, day_of(moment), month_of(moment), *(versions or (None, None)),
        whose.agent_id, whose.user_id, whose.chat_id,
    )  # fmt: skip
    match found["outcome"]:
        case "reserved":
            return Reserved(org_id, task_id, record_id, price)
        case "missing":
            raise TaskMissing("There is no such task.")
        case "ended":
            raise TokenInvalid("The task has ended.")
        case "stale":
            raise RulesChanged("The rules have changed.")
    if found["period_id"] is not None:
        tell_refused(org_id, uuid.UUID(found["period_id"]))
    raise _exceeded(found, estimate)


def settle(reserved: Reserved, used: Tokens | None) -> bool:
    """Replace a reservation by what the call used; None, not known, makes it the whole estimate.

    Happens once: False when it was settled before, or the task is gone, and then nothing changes. The task's sums grow
    here also when it has ended, for a call may outlive it. Locks: the task, the record, then the budgets' periods.
    Emits: BudgetReached and NotificationCreated when a budget is used up by half, by four fifths, or wholly.
    """
    cost = reserved.price.cost_of(used) if used is not None and reserved.price is not None else None
    found = _call(
        _SETTLE,
        reserved.org_id,
        reserved.task_id,
        reserved.record_id,
        cost,
        used.input if used is not None else 0,
        used.output if used is not None else 0,
    )
    if found.get("notices"):
        tell_shares(reserved.org_id, [uuid.UUID(period_id) for period_id in found["notices"]])
    return bool(found["settled"])


def all_tenants_settle_abandoned(older_than: timedelta) -> int:
    """Settle calls whose gateway died before it could, at their whole estimate; returns how many.

    `older_than` must be longer than the longest call that the gateway lets live.
    """
    abandoned = (
        UsageRecord.objects.using("operator")
        .filter(cost_microusd=None, created_at__lt=now() - older_than)
        .order_by("created_at")
        .values_list("org_id", "task_id", "id")[:_BATCH]
    )
    return sum(settle(Reserved(*keys, price=None), None) for keys in abandoned)


def _call(statement: str, *arguments: Any) -> dict[str, Any]:
    """Run one of the functions. Outside of a transaction its statement is one, and the tenant is set within."""
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        (found,) = cursor.fetchone()
    result: dict[str, Any] = json.loads(found) if isinstance(found, str) else found
    return result


def _exceeded(found: dict[str, Any], estimate: int) -> BudgetExceeded:
    level, period = found["level"], found["period"]
    moment = now()
    renews_at = renewal_of(period, moment)
    name = f"budget of the {level}" + (f" for the {period}" if period else "")
    text = (
        f"The {name} is {dollars(found['cap'])}; {dollars(found['spent'])} is spent, {dollars(found['reserved'])} is "
        f"set aside for calls under way, and this call may need {dollars(estimate)}."
    )
    if renews_at is not None:
        text += f" It renews at {rfc3339(renews_at)}."
    return BudgetExceeded(
        text,
        retry_after_s=(renews_at - moment).total_seconds() if renews_at is not None else None,
        level=level,
        period=period or None,
        budget_id=found["budget"],
        renews_at=rfc3339(renews_at) if renews_at is not None else None,
        cap_microusd=found["cap"],
        spent_microusd=found["spent"],
        reserved_microusd=found["reserved"],
        needed_microusd=estimate,
    )


def dollars(microusd: int) -> str:
    """Show micro-dollars as dollars with four decimals, rounded up so that something is never nothing."""
    tenths_of_cents = -(-microusd // 100)
    return f"${tenths_of_cents // 10_000}.{tenths_of_cents % 10_000:04d}"
