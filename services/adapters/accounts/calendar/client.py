"""A person's calendars on one CalDAV server. Credentials go to that server's origin and nowhere else.

Source: RFC 4791 (CalDAV), RFC 6764 (finding a server)
"""

from __future__ import annotations

import asyncio
import posixpath
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote, urljoin, urlsplit

import httpx2

from services.adapters.accounts.calendar import dav
from services.adapters.accounts.calendar.events import (
    Draft,
    Occurrence,
    expand,
    rewrite_event,
    sort_key,
    write_event,
)
from services.adapters.accounts.waiting import retry_after_s
from services.domain.errors import (
    AccountAway,
    AccountDenied,
    AccountRefused,
    AccountThrottled,
    AccountUnauthorised,
    Invalid,
    ItemChanged,
    ItemMissing,
)

READ_S = 30.0
MAX_CALENDARS = 100
_MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 307, 308})
_XML = {"Content-Type": "application/xml; charset=utf-8"}
_ICAL = {"Content-Type": "text/calendar; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class CalendarFound:
    """A calendar. `id` is its path on the server."""

    id: str
    name: str
    is_writable: bool


@dataclass(frozen=True, slots=True)
class EventFound:
    """An occurrence, with the path and the version of the object that holds it."""

    id: str
    calendar_id: str
    etag: str
    occurrence: Occurrence


class CalendarClient:
    """Its calls raise the errors of accounts, ItemMissing, Invalid and ItemChanged."""

    def __init__(self, http: httpx2.AsyncClient, url: str, *, address: str) -> None:
        self._http, self._url, self._address = http, url, address
        self._calendars: list[CalendarFound] | None = None

    async def calendars(self) -> list[CalendarFound]:
        """Return the calendars that hold events, found from the server's address on."""
        if self._calendars is None:
            home = await self._find_home()
            answers = dav.read_multistatus(await self._ask("PROPFIND", home, dav.LIST_CALENDARS, depth="1"))
            self._calendars = [
                CalendarFound(
                    self._path(answer.href),
                    dav.text_of(answer.prop, dav.DAV, "displayname") or _last(answer.href),
                    dav.is_writable(answer.prop),
                )
                for answer in answers
                if dav.is_calendar(answer.prop)
            ][:MAX_CALENDARS]
        return self._calendars

    async def events(
        self, start: datetime, end: datetime, calendar_id: str | None, limit: int
    ) -> tuple[list[EventFound], int]:
        """Return the occurrences between two times, the earliest first, and how many there are in all."""
        wanted = [await self._calendar(calendar_id)] if calendar_id else await self.calendars()
        body = dav.query(*(f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}" for moment in (start, end)))
        found: list[EventFound] = []
        for calendar in wanted:
            answers = dav.read_multistatus(await self._ask("REPORT", calendar.id, body, depth="1"))
            found += await asyncio.to_thread(self._expand, answers, calendar.id, start, end)
        found.sort(key=lambda event: sort_key(event.occurrence))
        return found[:limit], len(found)

    async def create(self, draft: Draft, calendar_id: str | None) -> EventFound:
        """Add an event; without a calendar to the first that may be written to."""
        calendar = await self._writable(calendar_id)
        uid = str(uuid.uuid4())
        path = posixpath.join(calendar.id, f"{uid}.ics")
        body = write_event(draft, uid, organizer=self._address)
        await self._send("PUT", path, body, _ICAL | {"If-None-Match": "*"})
        return await self._one(path, calendar.id)

    async def update(self, event_id: str, draft: Draft, etag: str) -> EventFound:
        """Change an event, of a series all of it, if it still is what was read. Raises: ItemChanged."""
        calendar = await self._calendar_of(event_id)
        answer = await self._send("GET", event_id, None, {})
        if answer.headers.get("etag", "") != etag:
            raise ItemChanged("The event was changed meanwhile. Read it again with calendar_events.")
        body = rewrite_event(answer.text, draft, organizer=self._address)
        await self._send("PUT", event_id, body, _ICAL | {"If-Match": etag})
        return await self._one(event_id, calendar.id)

    async def delete(self, event_id: str, etag: str) -> None:
        """Remove an event, of a series all of it, if it still is what was read. Raises: ItemChanged."""
        await self._calendar_of(event_id)
        await self._send("DELETE", event_id, None, {"If-Match": etag})

    # --- finding ---------------------------------------------------------------------------------------

    async def _find_home(self) -> str:
        principal = ""
        for place in (self._url, urljoin(self._url, "/.well-known/caldav")):
            try:
                answers = dav.read_multistatus(
                    await self._ask("PROPFIND", place, dav.FIND_PRINCIPAL, depth="0")
                )
            except (ItemMissing, AccountRefused):
                continue
            principal = next(
                (
                    href
                    for each in answers
                    if (href := dav.href_in(each.prop, dav.DAV, "current-user-principal"))
                ),
                "",
            )
            if principal:
                break
        answers = dav.read_multistatus(
            await self._ask("PROPFIND", principal or self._url, dav.FIND_HOME, depth="0")
        )
        homes = (dav.href_in(each.prop, dav.CALDAV, "calendar-home-set") for each in answers)
        return next((home for home in homes if home), principal or self._url)

    async def _calendar(self, calendar_id: str) -> CalendarFound:
        for calendar in await self.calendars():
            if calendar.id == calendar_id:
                return calendar
        raise ItemMissing("There is no such calendar. Take ids from calendar_list.")

    async def _writable(self, calendar_id: str | None) -> CalendarFound:
        if calendar_id is not None:
            calendar = await self._calendar(calendar_id)
            if not calendar.is_writable:
                raise AccountDenied("The calendar may only be read.")
            return calendar
        for calendar in await self.calendars():
            if calendar.is_writable:
                return calendar
        raise AccountDenied("There is no calendar that may be written to.")

    async def _calendar_of(self, event_id: str) -> CalendarFound:
        """Return the calendar that an event is in: an id that leads elsewhere is none. Raises: ItemMissing."""
        plain = unquote(event_id)
        folder, name = posixpath.split(plain)
        if posixpath.normpath(plain) == plain and name.endswith(".ics"):
            for calendar in await self.calendars():
                if unquote(calendar.id).rstrip("/") == folder:
                    return calendar
        raise ItemMissing("There is no such event. Take ids from calendar_events.")

    async def _one(self, path: str, calendar_id: str) -> EventFound:
        answer = await self._send("GET", path, None, {})
        # From the first occurrence on: whatever the time of it is.
        early, late = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
        found = await asyncio.to_thread(expand, _without_rule(answer.text), early, late)
        if not found:
            raise AccountRefused("The calendar server kept something else.")
        return EventFound(path, calendar_id, answer.headers.get("etag", ""), found[0])

    def _expand(
        self, answers: list[dav.Answered], calendar_id: str, start: datetime, end: datetime
    ) -> list[EventFound]:
        return [
            EventFound(
                self._path(answer.href), calendar_id, dav.text_of(answer.prop, dav.DAV, "getetag"), occurrence
            )
            for answer in answers
            for occurrence in expand(dav.text_of(answer.prop, dav.CALDAV, "calendar-data"), start, end)
        ]

    # --- requests --------------------------------------------------------------------------------------

    async def _ask(self, method: str, place: str, body: str, *, depth: str) -> bytes:
        answer = await self._send(method, place, body.encode(), _XML | {"Depth": depth})
        return answer.content

    async def _send(
        self, method: str, place: str, body: bytes | None, headers: dict[str, str]
    ) -> httpx2.Response:
        url = self._within(place)
        for _ in range(_MAX_REDIRECTS + 1):
            answer = await self._http.request(method, url, content=body, headers=headers)
            if answer.status_code not in _REDIRECTS:
                break
            url = self._within(urljoin(url, answer.headers.get("location", "")))
        if not answer.is_success:
            raise _failure_of(answer)
        return answer

    def _within(self, place: str) -> str:
        """Return an address of the server's own origin. Raises: AccountRefused for any other."""
        url = urljoin(self._url, place)
        if urlsplit(url)[:2] != urlsplit(self._url)[:2]:
            raise AccountRefused("The calendar server leads to another server: give that one's address.")
        return url

    def _path(self, href: str) -> str:
        return urlsplit(self._within(href)).path


def _failure_of(answer: httpx2.Response) -> Exception:
    status = answer.status_code
    if status == 401:
        return AccountUnauthorised("The calendar server does not take the user name and password.")
    if status == 403:
        return AccountDenied("The calendar server does not permit this.")
    if status in (404, 410):
        return ItemMissing(
            "There is no such event or calendar. Take ids from calendar_events or calendar_list."
        )
    if status == 412:
        return ItemChanged("The event was changed meanwhile. Read it again with calendar_events.")
    if status in (429, 507):
        wait_s = retry_after_s(answer)
        return AccountThrottled(
            f"The calendar server wants fewer calls. Try again in {wait_s:.0f} seconds.", retry_after_s=wait_s
        )
    if status >= 500:
        return AccountAway("The calendar server cannot answer now. Try again in a minute.")
    if status in (400, 415, 422):
        return Invalid("The calendar server refuses the event.", fields={"event": "refused"})
    return AccountRefused(f"The calendar server refuses the request ({status}).")


def _last(href: str) -> str:
    return unquote(posixpath.basename(href.rstrip("/")))


def _without_rule(text: str) -> str:
    """Return a calendar object without its recurrence: its first occurrence is what is looked at."""
    lines = text.replace("\r\n ", "").replace("\r\n\t", "").splitlines()
    return "\r\n".join(line for line in lines if not line.upper().startswith(("RRULE", "RDATE")))
