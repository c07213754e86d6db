"""Reads a cron schedule out loud."""

from __future__ import annotations

import re

_DAYS = ("Sundays", "Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
_NAMED_DAYS = {"1-5": "on weekdays", "MON-FRI": "on weekdays", "0,6": "at weekends", "6,0": "at weekends"}
_STEP = re.compile(r"^\*/([1-9][0-9]?)$")


def words_for(cron: str) -> str:
    """Return a schedule in words; one that has no short words, as it is."""
    fields = cron.split()
    if len(fields) != 5:
        return cron
    minute, hour, day, month, weekday = fields
    if month != "*":
        return cron
    if (hour, day, weekday) == ("*", "*", "*"):
        return _within_the_hour(minute) or cron
    if (day, weekday) == ("*", "*") and _STEP.match(hour) and minute.isdigit():
        return f"every {hour[2:]} hours at :{int(minute):02d}"
    if not (minute.isdigit() and hour.isdigit()):
        return cron
    days = _days(day, weekday)
    return f"{days} at {int(hour):02d}:{int(minute):02d}" if days else cron


def _within_the_hour(minute: str) -> str | None:
    if minute in ("*", "*/1"):
        return "every minute"
    if step := _STEP.match(minute):
        return f"every {step[1]} minutes"
    return f"every hour at :{int(minute):02d}" if minute.isdigit() else None


def _days(day: str, weekday: str) -> str | None:
    if (day, weekday) == ("*", "*"):
        return "every day"
    if day == "*":
        if weekday.isdigit() and int(weekday) < len(_DAYS):
            return f"on {_DAYS[int(weekday)]}"
        return _NAMED_DAYS.get(weekday.upper())
    if weekday == "*" and day.isdigit():
        return f"on day {int(day)} of each month"
    return None
