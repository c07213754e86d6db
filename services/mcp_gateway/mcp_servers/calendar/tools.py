"""The calendar tools: each one or a few requests to the calendar server of the account that is granted."""

from __future__ import annotations

from services.domain.errors import AccountDenied
from services.mcp_gateway.accounts import OpenAccount, open_account
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.calendar.models import (
    AccountInput,
    CalendarOutput,
    CalendarsOutput,
    CreateInput,
    Deleted,
    DeleteInput,
    EventOutput,
    EventsInput,
    EventsOutput,
    UpdateInput,
)
from services.mcp_gateway.mcp_servers.tools import Tool

KIND = "calendar"


async def _list(caller: Caller, given: AccountInput) -> CalendarsOutput:
    async with open_account(caller, KIND, given.account) as account:
        found = await account.client.calendars()
    return CalendarsOutput(account=account.name, calendars=[CalendarOutput.of(each) for each in found])


async def _events(caller: Caller, given: EventsInput) -> EventsOutput:
    begin, end = given.span
    async with open_account(caller, KIND, given.account) as account:
        found, count = await account.client.events(begin, end, given.calendar_id, given.limit)
    return EventsOutput(events=[EventOutput.of(each) for each in found], found=count)


async def _create_event(caller: Caller, given: CreateInput) -> EventOutput:
    draft = given.draft(summary=given.summary, start=given.start, end=given.end)
    async with open_account(caller, KIND, given.account) as account:
        _refuse_unless_writable(account)
        return EventOutput.of(await account.client.create(draft, given.calendar_id))


async def _update_event(caller: Caller, given: UpdateInput) -> EventOutput:
    draft = given.draft(summary=given.summary, start=given.start, end=given.end)
    async with open_account(caller, KIND, given.account) as account:
        _refuse_unless_writable(account)
        return EventOutput.of(await account.client.update(given.event_id, draft, given.etag))


async def _delete_event(caller: Caller, given: DeleteInput) -> Deleted:
    async with open_account(caller, KIND, given.account) as account:
        _refuse_unless_writable(account)
        await account.client.delete(given.event_id, given.etag)
    return Deleted(event_id=given.event_id)


def _refuse_unless_writable(account: OpenAccount) -> None:
    if not account.settings.may_write:
        raise AccountDenied(f"The account {account.name} is set to be read only.")


TOOLS = (
    Tool(
        "calendar_list",
        "List the person's calendars, and which may be written to.",
        AccountInput,
        CalendarsOutput,
        _list,
        reads_only=True,
        open_world=True,
    ),
    Tool(
        "calendar_events",
        "List what is in the calendars in the coming days, or from `since` on; each occurrence of a series by itself.",
        EventsInput,
        EventsOutput,
        _events,
        reads_only=True,
        open_world=True,
    ),
    Tool(
        "calendar_create_event",
        "Add an event. With `attendees` the server may send invitations at once: invite only whom the person you work "
        "for wants invited.",
        CreateInput,
        EventOutput,
        _create_event,
        destroys=True,
        open_world=True,
    ),
    Tool(
        "calendar_update_event",
        "Change an event; what you leave out stays. Of a series all of it is changed. Needs the `etag` of the version "
        "that you read.",
        UpdateInput,
        EventOutput,
        _update_event,
        destroys=True,
        open_world=True,
    ),
    Tool(
        "calendar_delete_event",
        "Delete an event; of a series all of it. Needs the `etag` of the version that you read.",
        DeleteInput,
        Deleted,
        _delete_event,
        destroys=True,
        open_world=True,
    ),
)
