"""The calendar tools against a real CalDAV server, and against ones that mean no good."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from conftest import Tenant, recorded
from services.adapters.accounts.calendar import dav
from services.adapters.accounts.calendar.events import expand
from services.domain.errors import AccountRefused
from services.domain.integrations.models import Integration
from services.kit.environment import environment
from tests.fakes.caldav_server import PASSWORD, USER, CalDavServer
from tests.gateway.account_cast import add, calling, stored
from tests.gateway.serving import Caller


@pytest.fixture(scope="module")
def radicale(tmp_path_factory) -> Iterator[CalDavServer]:
    """Run a calendar server on loopback."""
    with CalDavServer(tmp_path_factory.mktemp("caldav")) as server:
        yield server


@pytest.fixture
def server(radicale, monkeypatch) -> Iterator[CalDavServer]:
    """Let the operator have named the server, and empty its calendars afterwards."""
    monkeypatch.setattr(environment(), "upstream_internal_hosts", "127.0.0.1")
    yield radicale
    for calendar in ("work", "home"):
        found = radicale.http.request("PROPFIND", f"/{USER}/{calendar}/", headers={"Depth": "1"})
        for answer in dav.read_multistatus(found.content):
            if answer.href.endswith(".ics"):
                radicale.http.delete(answer.href)


def connect(tenant: Tenant, server: CalDavServer, name: str = "mine", **settings: object) -> Integration:
    password = settings.pop("password", PASSWORD)
    given = {"url": server.url, "user": USER, "address": "alice@acme.example"}
    return add(
        tenant.owner, "calendar", name, settings={**given, **settings}, credentials={"password": password}
    )


@pytest.fixture
def account(server, acme) -> Integration:
    """Connect it as alice."""
    return connect(acme, server)


@pytest.fixture
def calendar(gateway, acme, account) -> Caller:
    """Call the calendar tools for alice."""
    return calling(gateway, acme, "calendar")


def test_calendars_are_found_from_the_servers_address_on(calendar, account):
    found = calendar("calendar_list")["calendars"]
    assert {(each["id"], each["name"], each["is_writable"]) for each in found} == {
        (f"/{USER}/work/", "Work", True),
        (f"/{USER}/home/", "Home Ä", True),
    }
    assert (account.status, "Work" in stored(account).identity) == ("ok", True)


def test_a_series_is_shown_by_occurrence_and_keeps_its_hour_when_the_clocks_change(calendar, server):
    server.put(
        "work",
        "standup",
        "SUMMARY:Stand-up",
        "DTSTART;TZID=Europe/Berlin:20261020T090000",
        "DTEND;TZID=Europe/Berlin:20261020T091500",
        "RRULE:FREQ=WEEKLY;COUNT=3",
        "EXDATE;TZID=Europe/Berlin:20261103T090000",
    )
    found = calendar("calendar_events", since="2026-10-01", days=60)
    assert [each["start"] for each in found["events"]] == [
        "2026-10-20T09:00:00+02:00",
        "2026-10-27T09:00:00+01:00",
    ]
    assert {each["is_recurring"] for each in found["events"]} == {True}


def test_events_of_all_calendars_come_in_order_and_only_of_the_time(calendar, server):
    server.put("work", "late", "SUMMARY:Late", "DTSTART:20260702T100000Z", "DTEND:20260702T110000Z")
    server.put("home", "early", "SUMMARY:Early", "DTSTART;VALUE=DATE:20260701", "LOCATION:Köln")
    server.put("home", "far", "SUMMARY:Far", "DTSTART:20270101T100000Z", "DTEND:20270101T110000Z")
    found = calendar("calendar_events", since="2026-06-30T00:00:00+02:00", days=7)
    assert [(each["summary"], each["start"], each["end"]) for each in found["events"]] == [
        ("Early", "2026-07-01", "2026-07-02"),
        ("Late", "2026-07-02T10:00:00+00:00", "2026-07-02T11:00:00+00:00"),
    ]
    one = calendar("calendar_events", since="2026-06-30", days=7, calendar_id=f"/{USER}/home/", limit=1)
    assert ([each["location"] for each in one["events"]], one["found"]) == (["Köln"], 1)


def test_an_event_is_made_changed_and_deleted(calendar, server):
    made = calendar(
        "calendar_create_event",
        summary="Review",
        start="2026-07-01T10:00:00",
        end="2026-07-01T11:00:00",
        time_zone="Europe/Berlin",
        recurrence="FREQ=WEEKLY;COUNT=2",
        attendees=["bob@acme.example"],
        calendar_id=f"/{USER}/home/",
    )
    assert (made["calendar_id"], made["attendees"]) == (f"/{USER}/home/", ["bob@acme.example"])
    assert made["organizer"] == "alice@acme.example"
    raw = server.http.get(made["id"]).text
    assert "BEGIN:VTIMEZONE" in raw
    assert "DTSTART;TZID=Europe/Berlin:20260701T100000" in raw
    assert len(calendar("calendar_events", since="2026-07-01", days=14)["events"]) == 2
    changed = calendar("calendar_update_event", event_id=made["id"], etag=made["etag"], summary="Big review")
    assert (changed["summary"], changed["start"]) == ("Big review", "2026-07-01T10:00:00+02:00")
    assert changed["etag"] != made["etag"]
    calendar("calendar_delete_event", event_id=made["id"], etag=changed["etag"])
    assert calendar("calendar_events", since="2026-07-01", days=14)["events"] == []


def test_what_somebody_changed_meanwhile_is_not_overwritten(calendar, server):
    path = server.put("work", "plan", "SUMMARY:Plan", "DTSTART:20260701T100000Z", "DTEND:20260701T110000Z")
    (read,) = calendar("calendar_events", since="2026-07-01", days=1)["events"]
    server.put("work", "plan", "SUMMARY:New plan", "DTSTART:20260701T120000Z", "DTEND:20260701T130000Z")
    for name, given in (("calendar_update_event", {"summary": "Mine"}), ("calendar_delete_event", {})):
        words = calendar.refused(name, event_id=path, etag=read["etag"], **given)
        assert words.startswith("item_changed:"), words
    assert "New plan" in server.http.get(path).text


def test_an_id_that_leads_out_of_the_calendars_is_none(calendar, server):
    etag = '"x"'
    for event_id in (
        f"/{USER}/list/a.ics",
        f"/{USER}/work/../list/a.ics",
        f"/{USER}/work/%2e%2e/list/a.ics",
        f"/{USER}/work/",
        "/mallory/work/a.ics",
        "//evil.example/work/a.ics",
    ):
        words = calendar.refused("calendar_delete_event", event_id=event_id, etag=etag)
        assert words.startswith("item_not_found:"), (event_id, words)


def test_wrong_moments_and_rules_say_what_is_right(calendar):
    base = {"summary": "x", "start": "2026-07-01T10:00:00+02:00", "end": "2026-07-01T11:00:00+02:00"}
    assert "2026-07-01T10:00:00+02:00" in calendar.refused(
        "calendar_create_event", **base | {"start": "tomorrow!!"}
    )
    assert "time_zone" in calendar.refused("calendar_create_event", **base | {"start": "2026-07-01T10:00:00"})
    assert "before the start" in calendar.refused(
        "calendar_create_event", **base | {"end": "2026-07-01T07:00:00Z"}
    )
    assert "both be dates" in calendar.refused("calendar_create_event", **base | {"end": "2026-07-02"})
    for rule in ("FREQ=SECONDLY", "WHENEVER", "COUNT=3"):
        assert "FREQ=WEEKLY" in calendar.refused("calendar_create_event", **base, recurrence=rule)
    assert "time zone" in calendar.refused("calendar_create_event", **base, time_zone="Mars/Olympus")


def test_an_account_that_is_read_only_changes_nothing(gateway, acme, server):
    connect(acme, server, "readonly", may_write=False)
    calendar = calling(gateway, acme, "calendar")
    words = calendar.refused("calendar_create_event", summary="x", start="2026-07-01", end="2026-07-02")
    assert words.startswith("account_denied:")
    assert calendar("calendar_events", since="2026-07-01", days=2)["events"] == []


def test_a_wrong_password_closes_the_account_and_is_told_without_it(gateway, acme, server):
    row = connect(acme, server, password="not the word")
    assert row.status == "unauthorised"
    with recorded() as seen:
        words = calling(gateway, acme, "calendar").refused("calendar_list")
    text = json.dumps(
        [words, [event.data for event in (*seen.events, *seen.changes)], stored(row).settings, row.last_error]
    )
    assert words.startswith("account_unauthorised:")
    assert "not the word" not in text


def test_another_tenant_and_another_member_find_nothing(gateway, acme, globex, account):
    for caller in (
        calling(gateway, globex, "calendar"),
        calling(gateway, acme, "calendar", who=acme.people["bob"]),
    ):
        assert caller.refused("calendar_events").startswith("account_not_connected:")


def test_a_rule_that_would_fill_any_time_is_not_expanded():
    head = ("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:x", "BEGIN:VEVENT", "UID:1", "DTSTAMP:20260101T000000Z")
    rule = ("DTSTART:20260701T000000Z", "RRULE:FREQ=SECONDLY", "SUMMARY:Bomb", "END:VEVENT", "END:VCALENDAR")
    text = "\r\n".join((*head, *rule, ""))
    found = expand(text, datetime(2026, 6, 30, tzinfo=UTC), datetime(2026, 9, 28, tzinfo=UTC))
    assert [each.summary for each in found] == ["Bomb"]
    assert expand("nonsense", datetime(2026, 6, 30, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)) == []


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"",
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><d:multistatus xmlns:d="DAV:">&b;'
        b"</d:multistatus>",
        b'<?xml version="1.0"?><!DOCTYPE x SYSTEM "file:///etc/passwd"><d:multistatus xmlns:d="DAV:"/>',
    ],
)
def test_xml_that_means_no_good_is_refused(body):
    with pytest.raises(AccountRefused):
        dav.read_multistatus(body)
