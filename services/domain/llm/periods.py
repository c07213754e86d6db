"""The stretches of time in which budgets count: days and months of UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from services.domain.llm.models import BudgetPeriod


def day_of(moment: datetime) -> str:
    """Return the name of a moment's day."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d")


def month_of(moment: datetime) -> str:
    """Return the name of a moment's month."""
    return moment.astimezone(UTC).strftime("%Y-%m")


def bucket_of(period: str, moment: datetime) -> str:
    """Return the name of the day or month that a moment is in."""
    return day_of(moment) if period == BudgetPeriod.DAY else month_of(moment)


def start_of(period: str, moment: datetime) -> datetime:
    """Return when the day or month that a moment is in began."""
    midnight = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight if period == BudgetPeriod.DAY else midnight.replace(day=1)


def renewal_of(period: str, moment: datetime) -> datetime | None:
    """Return when a budget begins anew; None for one that time does not renew."""
    if period not in (BudgetPeriod.DAY, BudgetPeriod.MONTH):
        return None
    begun = start_of(period, moment)
    if period == BudgetPeriod.DAY:
        return begun + timedelta(days=1)
    return (begun + timedelta(days=32)).replace(day=1)
