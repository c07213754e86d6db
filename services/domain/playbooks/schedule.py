"""When a playbook is due next: five cron fields, read in a time zone. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterError, croniter

from services.domain.errors import ScheduleInvalid


def next_run(cron: str, timezone: str, after: datetime) -> datetime:
    """Return the first moment after `after` at which the schedule is due, in UTC.

    Raises: ScheduleInvalid for a schedule or zone that does not exist, or a schedule that is never due.
    """
    zone = zone_of(timezone)
    if len(cron.split()) != 5:
        raise ScheduleInvalid("A schedule has five fields.", fields={"cron": "five fields are needed"})
    try:
        due = croniter(cron, after.astimezone(zone)).get_next(datetime)
    except (CroniterError, ValueError, KeyError) as error:
        raise ScheduleInvalid("The schedule cannot be read.", fields={"cron": str(error)[:200]}) from error
    return due.astimezone(UTC)


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone by its name. Raises: ScheduleInvalid."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ScheduleInvalid("There is no such time zone.", fields={"timezone": "unknown"}) from error
