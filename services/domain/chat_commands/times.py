"""Reading when something is to be done, as people write it, into five cron fields. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from services.domain.errors import ScheduleInvalid

_DAYS = {
    name: number
    for number, names in enumerate(
        ("sunday sun", "monday mon", "tuesday tue", "wednesday wed", "thursday thu", "friday fri", "saturday sat")
    )
    for name in names.split()
}  # fmt: skip
_SPANS = {"daily": "*", "weekdays": "1-5", "weekends": "0,6"}
_CLOCK = re.compile(r"([01]?[0-9]|2[0-3])(?:[:.]([0-5][0-9]))?(am|pm)?", re.IGNORECASE)
_CRON_FIELD = re.compile(r"[0-9*/,\-A-Za-z#?]+")
_EVERY = re.compile(r"([0-9]{1,3})\s*(minutes?|min|hours?|h)", re.IGNORECASE)
EXAMPLES = (
    "`0 9 * * 1-5`, `daily 9:00`, `weekdays 8:30`, `mon,thu 17:00`, `monthly 1 9:00`, `hourly` or "
    "`every 15 minutes`"
)


@dataclass(frozen=True, slots=True)
class Planned:
    """When, as five cron fields, and what."""

    cron: str
    prompt: str


def read_plan(text: str) -> Planned:
    """Split `<when> <prompt>`. Raises: ScheduleInvalid when the time cannot be read, or nothing is to be done."""
    words = text.split()
    cron, used = _read_words(words)
    prompt = _after(text, used)
    if not prompt:
        raise ScheduleInvalid(f"Say what is to be done, after when. When can be {EXAMPLES}.")
    return Planned(cron, prompt)


def _read_words(words: list[str]) -> tuple[str, int]:
    """Return the cron fields, and how many words they took."""
    first = words[0].lower() if words else ""
    if first == "hourly":
        return "0 * * * *", 1
    if first == "every":
        return _every(words)
    if first == "monthly" and len(words) > 2 and words[1].isdecimal() and 1 <= int(words[1]) <= 28:
        minute, hour = _clock(words[2])
        return f"{minute} {hour} {int(words[1])} * *", 3
    if (days := _days(first)) is not None:
        if len(words) < 2:
            raise _unreadable()
        minute, hour = _clock(words[1])
        return f"{minute} {hour} * * {days}", 2
    fields = words[:5]
    if (
        len(fields) == 5
        and all(_CRON_FIELD.fullmatch(field) for field in fields)
        and fields[0][0] in "*0123456789"
    ):
        return " ".join(fields), 5
    raise _unreadable()


def _every(words: list[str]) -> tuple[str, int]:
    for used in (2, 3):
        found = _EVERY.fullmatch(" ".join(words[1:used]))
        if found is None:
            continue
        count, is_hours = int(found[1]), found[2].lower().startswith("h")
        if is_hours and 1 <= count <= 23:
            return f"0 */{count} * * *", used
        if not is_hours and 5 <= count <= 59:
            return f"*/{count} * * * *", used
        raise ScheduleInvalid("Every 5 to 59 minutes, or every 1 to 23 hours.")
    raise _unreadable()


def _days(word: str) -> str | None:
    if word in _SPANS:
        return _SPANS[word]
    names = word.split(",")
    if all(name in _DAYS for name in names):
        return ",".join(str(_DAYS[name]) for name in names)
    return None


def _clock(word: str) -> tuple[int, int]:
    found = _CLOCK.fullmatch(word)
    if found is None:
        raise ScheduleInvalid(f"{word[:20]!r} is no time of the day. Write it as in 9:00 or 17:30.")
    hour, half = int(found[1]), (found[3] or "").lower()
    if half and not 1 <= hour <= 12:
        raise ScheduleInvalid(f"{word[:20]!r} is no time of the day.")
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    return int(found[2] or 0), hour


def _after(text: str, words: int) -> str:
    """Return what follows some words, with its own lines and spaces."""
    return re.sub(rf"^\s*(?:\S+\s*){{{words}}}", "", text).strip()


def _unreadable() -> ScheduleInvalid:
    return ScheduleInvalid(f"I cannot read when. It can be {EXAMPLES}.")
