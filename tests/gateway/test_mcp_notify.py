"""Notifications: in the dashboard at once, in a person's own chats outside of their quiet hours."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta

import pytest
from pydantic import ValidationError

from conftest import Tenant, recorded
from services.domain.chats.models import Delivery
from services.domain.contacts.models import PlatformAccount
from services.domain.contacts.quiet import QuietHours, set_quiet_hours
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.worker.jobs import chats as chat_jobs
from tests.fakes.chat_places import ChatPlace, chat_place, drain
from tests.gateway.serving import Caller, at_work


@pytest.fixture(params=["telegram", "slack"])
def place(request: pytest.FixtureRequest, acme: Tenant, monkeypatch) -> Iterator[ChatPlace]:
    with chat_place(request.param, acme, monkeypatch) as running:
        with tenant_transaction(acme.organisation.id):
            PlatformAccount.objects.create(
                org_id=acme.organisation.id,
                user_id=acme.owner.user_id,
                link=running.link,
                platform_user_id="1",
                chat=running.chat,
            )
        yield running


@pytest.fixture
def notify(gateway: str, acme: Tenant, claude, place: ChatPlace) -> Caller:
    return Caller(gateway, at_work(acme, claude), "notify")


def quiet_now(tenant: Tenant) -> datetime:
    """Let it be in the middle of alice's quiet hours; gives their end."""
    here = now()
    hours = QuietHours(
        quiet_from=(here - timedelta(hours=2)).time().replace(microsecond=0),
        quiet_to=(here + timedelta(hours=2)).time().replace(microsecond=0),
    )
    set_quiet_hours(tenant.owner, hours)
    until = hours.quiet_until(here)
    assert until is not None
    return until


def test_a_notification_reaches_the_dashboard_and_the_linked_chats_once(notify, place):
    with recorded() as seen:
        given = notify("notify_user", message="Half done")
        again = notify("notify_user", message="Half done")
    assert [(one["channel"], one["state"]) for one in given["channels"]] == [
        ("dashboard", "sent"),
        (place.kind, "queued"),
    ]
    assert (again["seq"], again["is_repeat"]) == (given["seq"], True)
    assert seen.event_types == ["notification.created", "delivery.changed"]
    drain()
    (text,) = place.texts()
    assert "Half done" in text
    assert "Claude" in text
    assert notify("notify_user", message="Half done")["channels"][1]["state"] == "sent"


def test_in_quiet_hours_only_what_is_urgent_goes_through(notify, place, acme):
    until = quiet_now(acme)
    given = notify("notify_user", message="It can wait")
    held = given["channels"][1]
    assert (held["state"], held["until"]) == (
        "held",
        until.isoformat().replace("+00:00", "Z")[:19] + "Z",
    ) or (held["state"] == "held" and held["until"].startswith(until.isoformat()[:19]))
    drain()
    assert place.texts() == []
    urgent = notify("notify_user", message="It cannot", urgency="high")
    assert urgent["channels"][1]["state"] == "queued"
    drain()
    assert len(place.texts()) == 1
    Delivery.objects.using("operator").filter(status="queued").update(next_attempt_at=now())
    row = Delivery.objects.using("operator").get(status="queued")
    chat_jobs.send_batch(chat_jobs.SendDelivery(org_id=row.org_id, batch=row.batch))
    assert "It can wait" in place.texts()[-1]


def test_a_channel_may_be_named(notify, place):
    only = notify("notify_user", message="quietly", channel="dashboard")
    assert [one["channel"] for one in only["channels"]] == ["dashboard"]
    there = notify("notify_user", message="there", channel=place.kind)
    assert [one["channel"] for one in there["channels"]] == ["dashboard", place.kind]
    words = notify.refused("notify_user", message="x", channel="pigeon")
    assert words.startswith("destination_not_found:")
    assert place.kind in words


def test_nothing_reaches_the_chats_of_somebody_else(gateway, acme, globex, claude, place):
    bobs = Caller(gateway, at_work(acme, claude, who=acme.people["bob"]), "notify")
    assert [one["channel"] for one in bobs("notify_user", message="for bob")["channels"]] == ["dashboard"]
    drain()
    assert place.texts() == []


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        ("2026-03-02T21:30", None),
        ("2026-03-02T22:30", "2026-03-03T06:00"),
        ("2026-03-03T03:00", "2026-03-03T06:00"),
        ("2026-03-03T06:00", None),
        # The night in which the clocks go forward: seven o'clock comes an hour earlier in UTC.
        ("2026-03-28T23:30", "2026-03-29T05:00"),
    ],
)
def test_quiet_hours_are_of_the_persons_own_clock(clock, expected):
    berlin = QuietHours(time_zone="Europe/Berlin", quiet_from=time(23), quiet_to=time(7))
    found = berlin.quiet_until(datetime.fromisoformat(clock).replace(tzinfo=UTC))
    assert found == (datetime.fromisoformat(expected).replace(tzinfo=UTC) if expected else None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"time_zone": "Mars/Olympus"},
        {"quiet_from": "22:00"},
        {"quiet_from": "22:00", "quiet_to": "22:00"},
        {"quiet_from": "22:00+01:00", "quiet_to": "07:00"},
    ],
)
def test_quiet_hours_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        QuietHours.model_validate(wrong)
