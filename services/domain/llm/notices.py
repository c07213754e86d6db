"""Telling people how far a budget is used up: at a half, at four fifths and at the end, each once in a period."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from services.domain.events.announcing import announce
from services.domain.events.listed import BudgetChanged
from services.domain.events.types import BudgetReached, NotificationCreated
from services.domain.identity.models import Membership
from services.domain.llm.models import BudgetLevel, BudgetSpent
from services.domain.push.telling import tell_person
from services.domain.tenancy.transaction import tenant_transaction

SHARES = (100, 80, 50)
_ADMINS = ("owner", "admin")


def tell_shares(org_id: uuid.UUID, period_ids: Sequence[uuid.UUID]) -> None:
    """Tell of the highest share that each of these periods has reached. Emits: BudgetReached, NotificationCreated."""
    with tenant_transaction(org_id):
        for period in BudgetSpent.objects.select_related("budget").filter(id__in=period_ids):
            limit = period.budget.limit_microusd
            reached = [share for share in SHARES if period.spent_microusd * 100 >= limit * share]
            if reached:
                _tell_once(period, reached[0])


def tell_refused(org_id: uuid.UUID, period_id: uuid.UUID) -> None:
    """Tell that a call found no room in a period. Emits: BudgetReached, NotificationCreated."""
    with tenant_transaction(org_id):
        period = BudgetSpent.objects.select_related("budget").filter(id=period_id).first()
        if period is not None and period.noticed < SHARES[0]:
            _tell_once(period, SHARES[0])


def _tell_once(period: BudgetSpent, share: int) -> None:
    """Record a notice, unless somebody else has meanwhile, or a higher one is out."""
    # The row is the lock: of any number that come here at once, one changes it.
    if not BudgetSpent.objects.filter(id=period.id, noticed__lt=share).update(noticed=share):
        return
    budget = period.budget
    whose = f"the {budget.level}'s budget" if budget.level != BudgetLevel.PERSON else "a person's budget"
    announce(
        BudgetReached(
            budget_id=str(budget.id),
            level=budget.level,
            period=budget.period,
            bucket=period.bucket,
            subject_id=str(budget.subject_id) if budget.subject_id else None,
            share=share,
            limit_microusd=budget.limit_microusd,
            spent_microusd=period.spent_microusd,
        ),
        readers=BudgetChanged.readers_of(budget),
    )
    text = (
        f"Models: {whose} for the {budget.period} {period.bucket} is spent. Further calls are refused."
        if share == SHARES[0]
        else f"Models: {share} % of {whose} for the {budget.period} {period.bucket} is spent."
    )
    people = set(Membership.objects.filter(role__in=_ADMINS).values_list("user_id", flat=True))
    if budget.level == BudgetLevel.PERSON and budget.subject_id is not None:
        people.add(budget.subject_id)
    for person in sorted(people):
        tell_person(
            person,
            NotificationCreated(message=text, urgency="high" if share == SHARES[0] else "normal"),
        )
