"""iCalendar: events as agents see them, expanded; events as they are written. Pure, bounded.

Source: RFC 5545
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import icalendar
import recurring_ical_events
from icalendar import vCalAddress, vRecur, vText

from services.domain.errors import AccountRefused, Invalid
from services.kit.clock import now

Moment = datetime | date
MAX_EXPANDED = 2_000
_TOO_FINE = frozenset({"SECONDLY", "MINUTELY"})
_RULE_LIKE = {"recurrence": "such as FREQ=WEEKLY;COUNT=4"}
_PRODUCT = "-//Slipway//Calendar//EN"


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One occurrence of an event. `start` and `end` are dates for whole days, else times with a zone."""

    uid: str
    start: Moment
    end: Moment
    summary: str
    location: str
    description: str
    status: str
    organizer: str
    attendees: tuple[str, ...]
    is_recurring: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """What an event is to say. Fields that are None stay as they are in an update. `recurrence` is an RRULE's value."""

    summary: str | None = None
    start: Moment | None = None
    end: Moment | None = None
    location: str | None = None
    description: str | None = None
    recurrence: str | None = None
    attendees: Sequence[str] | None = field(default=None)


def expand(text: str, start: datetime, end: datetime) -> list[Occurrence]:
    """Return the occurrences of a calendar object between two times; [] for what is no calendar object."""
    try:
        calendar = icalendar.Calendar.from_ical(text)
        recurring = _tamed(calendar)
        found = recurring_ical_events.of(calendar, skip_bad_series=True).between(start, end)
    except (ValueError, KeyError, TypeError, IndexError, OverflowError):
        return []
    return [_occurrence(event, recurring) for event in found[:MAX_EXPANDED] if event.get("DTSTART")]


def sort_key(occurrence: Occurrence) -> datetime:
    """Return the time by which occurrences are put in order; whole days come first."""
    return _as_time(occurrence.start)


def write_event(draft: Draft, uid: str, *, organizer: str) -> bytes:
    """Return a new calendar object. Raises: Invalid."""
    calendar = icalendar.Calendar()
    calendar.add("prodid", _PRODUCT)
    calendar.add("version", "2.0")
    event = icalendar.Event()
    event.add("uid", uid)
    event.add("dtstamp", now())
    calendar.add_component(event)
    _apply(event, draft, organizer)
    return _written(calendar)


def rewrite_event(text: str, draft: Draft, *, organizer: str) -> bytes:
    """Return a calendar object with changes to its event, of a series to all of it. Raises: Invalid, AccountRefused."""
    try:
        calendar = icalendar.Calendar.from_ical(text)
    except ValueError as error:
        raise AccountRefused("The calendar server's event is not to be understood.") from error
    masters = [event for event in calendar.walk("VEVENT") if "RECURRENCE-ID" not in event]
    if len(masters) != 1:
        raise AccountRefused("The calendar server's event is not to be understood.")
    event = masters[0]
    event["SEQUENCE"] = int(event.get("SEQUENCE", 0)) + 1
    for name in ("DTSTAMP", "LAST-MODIFIED"):
        event.pop(name, None)
        event.add(name, now())
    if draft.start is not None and draft.end is None and "DTEND" in event:
        raise Invalid("A new start needs its end too.", fields={"end": "missing"})
    _apply(event, draft, organizer)
    return _written(calendar)


def _apply(event: icalendar.Component, draft: Draft, organizer: str) -> None:
    for name, value in (
        ("SUMMARY", draft.summary),
        ("LOCATION", draft.location),
        ("DESCRIPTION", draft.description),
    ):
        if value is not None:
            event.pop(name, None)
            event.add(name, value)
    for name, moment in (("DTSTART", draft.start), ("DTEND", draft.end)):
        if moment is not None:
            event.pop(name, None)
            event.add(name, moment)
    if draft.end is not None:
        event.pop("DURATION", None)
    if draft.recurrence is not None:
        event.pop("RRULE", None)
        if draft.recurrence:
            event.add("RRULE", _rule(draft.recurrence))
    if draft.attendees is not None:
        event.pop("ATTENDEE", None)
        for address in draft.attendees:
            attendee = vCalAddress(f"mailto:{address}")
            attendee.params["RSVP"] = vText("TRUE")
            event.add("ATTENDEE", attendee, encode=False)
        if draft.attendees and "ORGANIZER" not in event and organizer:
            event.add("ORGANIZER", vCalAddress(f"mailto:{organizer}"), encode=False)


def _written(calendar: icalendar.Calendar) -> bytes:
    calendar.add_missing_timezones()
    return bytes(calendar.to_ical())


def _rule(text: str) -> vRecur:
    try:
        rule: vRecur = vRecur.from_ical(text.removeprefix("RRULE:"))
    except (ValueError, KeyError) as error:
        raise Invalid(
            "The recurrence is not to be understood.", fields={"recurrence": "FREQ=WEEKLY;COUNT=4"}
        ) from error
    if not rule.get("FREQ") or {str(each).upper() for each in rule["FREQ"]} & _TOO_FINE:
        raise Invalid("The recurrence must be hourly or rarer.", fields=_RULE_LIKE)
    return rule


def _tamed(calendar: icalendar.Component) -> frozenset[str]:
    """Take rules away that would fill any time with occurrences; returns the uids of events that recur."""
    recurring = set()
    for event in calendar.walk("VEVENT"):
        rule = event.get("RRULE")
        rules: Iterable[vRecur] = rule if isinstance(rule, list) else [rule] if rule else []
        if any({str(each).upper() for each in one.get("FREQ", [])} & _TOO_FINE for one in rules):
            del event["RRULE"]
        elif rules or "RECURRENCE-ID" in event:
            recurring.add(str(event.get("UID", "")))
    return frozenset(recurring)


def _occurrence(event: icalendar.Event, recurring: frozenset[str]) -> Occurrence:
    uid = str(event.get("UID", ""))
    begun: Any = event["DTSTART"]
    given: Any = event.get("DTEND")
    start: Moment = begun.dt
    end: Moment = given.dt if given is not None else _end_without(event, start)
    attendees: Any = event.get("ATTENDEE") or []
    return Occurrence(
        uid=uid,
        start=start,
        end=end,
        summary=str(event.get("SUMMARY", ""))[:1_000],
        location=str(event.get("LOCATION", ""))[:1_000],
        description=str(event.get("DESCRIPTION", ""))[:8_000],
        status=str(event.get("STATUS", "CONFIRMED")).lower(),
        organizer=_address(event.get("ORGANIZER")),
        attendees=tuple(
            _address(each) for each in (attendees if isinstance(attendees, list) else [attendees])[:100]
        ),
        is_recurring=uid in recurring,
    )


def _end_without(event: icalendar.Event, start: Moment) -> Moment:
    duration: Any = event.get("DURATION")
    if duration is not None:
        end: Moment = start + duration.dt
        return end
    return start if isinstance(start, datetime) else start + timedelta(days=1)


def _address(value: object) -> str:
    text = "" if value is None else str(value)
    return text[len("mailto:") :] if text.lower().startswith("mailto:") else text


def _as_time(moment: Moment) -> datetime:
    if not isinstance(moment, datetime):
        return datetime.combine(moment, time.min, UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def find_zone(name: str) -> zoneinfo.ZoneInfo:
    """Return a time zone by its IANA name. Raises: Invalid."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Invalid("There is no such time zone.", fields={"time_zone": "Europe/Berlin"}) from error
