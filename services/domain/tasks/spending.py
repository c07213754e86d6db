"""Money for model calls: reserved before a call, settled once after it, so that caps hold.

A task's cap covers the task and all that it passed on to other agents, however deep.
"""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.db import connection

from services.domain.errors import BudgetExceeded, TaskMissing, TokenInvalid
from services.domain.tasks.models import FINAL, Task, UsageRecord
from services.domain.tasks.prices import Tokens, cost_microusd
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

_BATCH = 500

# A task is younger than its parent, so the walk up always ends.
_CHAIN = """
WITH RECURSIVE chain AS (
    SELECT id, parent_id FROM task WHERE id = %s
    UNION ALL SELECT t.id, t.parent_id FROM task t JOIN chain ON t.id = chain.parent_id
) SELECT id FROM chain
"""
_TREE = """
WITH RECURSIVE tree AS (
    SELECT id, cost_microusd, reserved_microusd FROM task WHERE id = %s
    UNION ALL
    SELECT t.id, t.cost_microusd, t.reserved_microusd FROM task t JOIN tree ON t.parent_id = tree.id
) SELECT sum(cost_microusd)::bigint, sum(reserved_microusd)::bigint FROM tree
"""


def reserve(org_id: uuid.UUID, task_id: uuid.UUID, *, kind: str, model: str, most: Tokens) -> uuid.UUID:
    """Set money aside for the most that a call may cost, and return the record that settles it.

    Any number of calls may ask at once: rows are locked, so none sees room that another has taken.
    Locks: the task and those that it comes from, the oldest first.
    Raises: BudgetExceeded, TaskMissing, TokenInvalid when the task has ended meanwhile.
    """
    with tenant_transaction(org_id):
        chain = _lock_chain(task_id)
        task = chain[-1]
        if task.status in FINAL:
            raise TokenInvalid("The task has ended.")
        estimate = cost_microusd(model, most)
        for capped in chain:
            _refuse_beyond_cap(capped, estimate)
        record = UsageRecord.objects.create(
            org_id=org_id, task=task, kind=kind, model=model[:100], reserved_microusd=estimate
        )
        task.reserved_microusd += estimate
        task.save(update_fields=["reserved_microusd"])
        return record.id


def settle(org_id: uuid.UUID, task_id: uuid.UUID, record_id: uuid.UUID, used: Tokens | None) -> bool:
    """Replace a reservation by what the call used; None, not known, makes it the whole estimate.

    Happens once: False when it was settled before, or the task is gone, and then nothing changes. The task's sums grow
    here also when it has ended, for a call may outlive it. Locks: the task, then the record.
    """
    with tenant_transaction(org_id):
        task = Task.objects.select_for_update().filter(id=task_id).first()
        record = UsageRecord.objects.select_for_update().filter(id=record_id, task_id=task_id).first()
        if task is None or record is None or record.cost_microusd is not None:
            return False
        if used is None:
            record.cost_microusd = record.reserved_microusd
        else:
            record.cost_microusd = cost_microusd(record.model, used)
            record.input_tokens, record.output_tokens = used.input, used.output
        record.save(update_fields=["cost_microusd", "input_tokens", "output_tokens"])
        task.reserved_microusd -= record.reserved_microusd
        task.cost_microusd += record.cost_microusd
        task.input_tokens += record.input_tokens
        task.output_tokens += record.output_tokens
        task.save(update_fields=["reserved_microusd", "cost_microusd", "input_tokens", "output_tokens"])
        return True


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
    return sum(settle(*keys, None) for keys in abandoned)


def _lock_chain(task_id: uuid.UUID) -> list[Task]:
    """Lock a task and its ancestors; the task itself is the last."""
    with connection.cursor() as cursor:
        cursor.execute(_CHAIN, [task_id])
        ids = [row[0] for row in cursor.fetchall()]
    # Ids sort by age, which makes this one order for everybody.
    chain = list(Task.objects.select_for_update().filter(id__in=ids).order_by("id"))
    if not chain or chain[-1].id != task_id:
        raise TaskMissing("There is no such task.")
    return chain


def _refuse_beyond_cap(task: Task, estimate: int) -> None:
    cap = task.max_budget_microusd
    if cap is None:
        return
    with connection.cursor() as cursor:
        cursor.execute(_TREE, [task.id])
        spent, reserved = cursor.fetchone()
    if spent + reserved + estimate > cap:
        raise BudgetExceeded(
            f"The budget is {_dollars(cap)}; {_dollars(spent)} is spent, {_dollars(reserved)} is set aside for calls "
            f"under way, and this call may need {_dollars(estimate)}.",
            cap_microusd=cap,
            spent_microusd=spent,
            reserved_microusd=reserved,
            needed_microusd=estimate,
        )


def _dollars(microusd: int) -> str:
    return f"${microusd / 1_000_000:.4f}"
