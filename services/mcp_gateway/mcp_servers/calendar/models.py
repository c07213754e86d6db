"""What the calendar tools take and give. A moment is `2026-07-01` for whole days, else `2026-07-01T10:00:00+02:00`."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from services.adapters.accounts.calendar.client import CalendarFound, EventFound
from services.adapters.accounts.calendar.events import Draft, Moment, find_zone
from services.domain.errors import Invalid
from services.kit.clock import now
from services.kit.letters import is_address
from services.mcp_gateway.mcp_servers.tools import ToolInput, ToolOutput

MAX_DAYS = 90
MAX_ATTENDEES = 50

Account = Annotated[
    str | None,
    Field(
        max_length=80,
        description="Which connected calendar account, by its name. Leave out where there is only one.",
    ),
]
_Path = StringConstraints(pattern=r"^/[\x21-\x7e]{1,1000}$")
CalendarId = Annotated[str, _Path, Field(description="A calendar's `id`, as `calendar_list` gave it.")]
EventId = Annotated[str, _Path, Field(description="An event's `id`, as `calendar_events` gave it.")]
Etag = Annotated[
    str,
    StringConstraints(min_length=1, max_length=300, pattern=r"^[\x21-\x7e]+$"),
    Field(description="The event's `etag`, as it was read: a newer version is not overwritten."),
]


def _moment(text: str) -> str:
    _read(text)
    return text


def _read(text: str) -> Moment:
    try:
        return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be a date like 2026-07-01 or a time like 2026-07-01T10:00:00+02:00") from None


def _one_address(text: str) -> str:
    if not is_address(text) or "<" in text:
        raise ValueError("must be one mail address, without a name")
    return text


MomentText = Annotated[str, StringConstraints(min_length=10, max_length=40), AfterValidator(_moment)]
Address = Annotated[str, StringConstraints(max_length=320), AfterValidator(_one_address)]


class AccountInput(ToolInput):
    account: Account = None


class EventsInput(ToolInput):
    since: MomentText | None = Field(default=None, description="From when on; leave out for now.")
    days: int = Field(default=7, ge=1, le=MAX_DAYS, description="How many days from there.")
    calendar_id: CalendarId | None = None
    limit: int = Field(default=25, ge=1, le=100, description="The most to return.")
    account: Account = None

    @property
    def span(self) -> tuple[datetime, datetime]:
        """Return the time that is asked for."""
        begin = _read(self.since) if self.since else now()
        if not isinstance(begin, datetime):
            begin = datetime(begin.year, begin.month, begin.day, tzinfo=UTC)
        begin = begin if begin.tzinfo else begin.replace(tzinfo=UTC)
        return begin, begin + timedelta(days=self.days)


class _EventFields(ToolInput):
    location: str | None = Field(default=None, max_length=1_000, description="Where it is.")
    description: str | None = Field(default=None, max_length=8_000, description="What else there is to say.")
    time_zone: str | None = Field(
        default=None,
        max_length=60,
        description="IANA name, such as Europe/Berlin, for times without an offset: a series needs it to stay at its "
        "hour in summer and winter.",
    )
    recurrence: str | None = Field(
        default=None,
        max_length=300,
        description="An iCalendar rule, such as `FREQ=WEEKLY;BYDAY=MO;COUNT=10`; empty for once.",
    )
    attendees: list[Address] | None = Field(
        default=None,
        max_length=MAX_ATTENDEES,
        description="Mail addresses to invite. Many servers send the invitations at once.",
    )
    account: Account = None

    def moment(self, text: str | None) -> Moment | None:
        """Return a moment in its zone. Raises: Invalid for a time without any."""
        if text is None:
            return None
        moment = _read(text)
        if not isinstance(moment, datetime):
            return moment
        if moment.tzinfo is None:
            if self.time_zone is None:
                raise Invalid("A time needs an offset, or a time_zone.", fields={"time_zone": "missing"})
            return moment.replace(tzinfo=find_zone(self.time_zone))
        # With an offset alone a series would move by an hour when the clocks change.
        return moment.astimezone(find_zone(self.time_zone)) if self.time_zone else moment.astimezone(UTC)

    def draft(self, *, summary: str | None, start: str | None, end: str | None) -> Draft:
        """Return what the event is to say. Raises: Invalid."""
        begins, ends = self.moment(start), self.moment(end)
        if begins is not None and ends is not None:
            if isinstance(begins, datetime) != isinstance(ends, datetime):
                raise Invalid("Start and end must both be dates or both be times.", fields={"end": "mixed"})
            if ends < begins:
                raise Invalid("The end lies before the start.", fields={"end": "too early"})
        return Draft(summary, begins, ends, self.location, self.description, self.recurrence, self.attendees)


class CreateInput(_EventFields):
    summary: str = Field(min_length=1, max_length=500, description="The title.")
    start: MomentText = Field(description="A date for whole days, else a time.")
    end: MomentText = Field(description="As `start`; of whole days the day after the last one.")
    calendar_id: CalendarId | None = Field(
        default=None, description="Which calendar; leave out for the first that may be written to."
    )


class UpdateInput(_EventFields):
    event_id: EventId
    etag: Etag
    summary: str | None = Field(default=None, min_length=1, max_length=500, description="A new title.")
    start: MomentText | None = Field(default=None, description="A new start; give the end too.")
    end: MomentText | None = Field(default=None, description="A new end.")

    @model_validator(mode="after")
    def _has_some(self) -> UpdateInput:
        given = (
            self.summary,
            self.start,
            self.end,
            self.location,
            self.description,
            self.recurrence,
            self.attendees,
        )
        if all(value is None for value in given):
            raise ValueError("name at least one thing to change")
        return self


class DeleteInput(ToolInput):
    event_id: EventId
    etag: Etag
    account: Account = None


class CalendarOutput(ToolOutput):
    id: str = Field(description="Give it as `calendar_id`.")
    name: str = Field(description="What people call it.")
    is_writable: bool = Field(description="Whether the server lets events be written there.")

    @classmethod
    def of(cls, calendar: CalendarFound) -> CalendarOutput:
        return cls(id=calendar.id, name=calendar.name, is_writable=calendar.is_writable)


class CalendarsOutput(ToolOutput):
    account: str = Field(description="The account that answered; give it as `account`.")
    calendars: list[CalendarOutput] = Field(description="All that hold events.")


class EventOutput(ToolOutput):
    id: str = Field(description="Give it as `event_id`; the occurrences of a series share it.")
    etag: str = Field(description="This version of it; changing and deleting ask for it.")
    calendar_id: str = Field(description="The calendar that it is in.")
    summary: str = Field(description="The title.")
    start: str = Field(description="A date for whole days, else a time with its offset.")
    end: str = Field(description="As `start`; of whole days the day after the last one.")
    location: str = Field(description="Where it is; may be empty.")
    description: str = Field(description="What else there is to say; may be empty.")
    status: str = Field(description="`confirmed`, `tentative` or `cancelled`.")
    organizer: str = Field(description="The mail address of who invites; may be empty.")
    attendees: list[str] = Field(description="The mail addresses of those invited, at most 100.")
    is_recurring: bool = Field(description="One of a series: changes and deletion concern all of it.")

    @classmethod
    def of(cls, event: EventFound) -> EventOutput:
        found = event.occurrence
        return cls(
            id=event.id,
            etag=event.etag,
            calendar_id=event.calendar_id,
            summary=found.summary,
            start=found.start.isoformat(),
            end=found.end.isoformat(),
            location=found.location,
            description=found.description,
            status=found.status,
            organizer=found.organizer,
            attendees=list(found.attendees),
            is_recurring=found.is_recurring,
        )


class EventsOutput(ToolOutput):
    events: list[EventOutput] = Field(
        description="The earliest first, each occurrence of a series by itself."
    )
    found: int = Field(description="How many there are in all.")


class Deleted(ToolOutput):
    event_id: str = Field(description="The event that is gone, with all of its series.")
