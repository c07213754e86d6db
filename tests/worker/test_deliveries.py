"""What goes out: in order, as fast as the platform takes it, each attempt on record, never lost in silence."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest

from conftest import Tenant, recorded
from services.adapters.chat.telegram.manifest import MANIFEST as TELEGRAM
from services.domain.chats import line
from services.domain.chats.actions import retry_delivery
from services.domain.chats.models import Delivery, DeliveryAttempt
from services.domain.chats.outbound import (
    all_tenants_due_batches,
    note_part_delayed,
    note_part_sent,
    take_next_part,
)
from services.domain.chats.sending import Piece, Spot, write_message
from services.domain.errors import Conflict
from services.domain.events.models import Event
from services.domain.outbox.jobs import SendDelivery
from services.domain.outbox.models import OutboxJob
from services.domain.ports.chat import ChatKind
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.redisbus import client
from services.worker import buckets
from services.worker.jobs import chats
from tests.domain.cast import submit
from tests.fakes.chat_places import ChatPlace, chat_place, deliver_to, drain
from tests.fakes.serving import Fault

POST = {"telegram": "sendmessage", "slack": "chat.postMessage"}


@pytest.fixture(params=["telegram", "slack"])
def place(request, acme, monkeypatch) -> Iterator[ChatPlace]:
    """Give a chat on either platform."""
    with chat_place(request.param, acme, monkeypatch, is_paced=True) as found:
        yield found


@pytest.fixture
def telegram(acme, monkeypatch) -> Iterator[ChatPlace]:
    """Give a direct chat of Telegram's, which keeps no key of ours."""
    with chat_place("telegram", acme, monkeypatch, is_paced=True) as found:
        yield found


def write(acme: Tenant, place: ChatPlace, *texts: str, batch: str = "b", task=None) -> None:
    with tenant_transaction(acme.organisation.id):
        spot = Spot(place.chat, place.thread_id)
        write_message(spot, [Piece(text) for text in texts], batch=batch, task=task)


def rows(batch: str = "b") -> list[Delivery]:
    return list(Delivery.objects.using("operator").filter(batch=batch).order_by("part"))


def custody(batch: str = "b") -> list[str]:
    found = DeliveryAttempt.objects.using("operator").filter(delivery__batch=batch).order_by("id")
    return [attempt.outcome for attempt in found]


def let_time_pass() -> None:
    """Make everything that waits due, and all buckets full."""
    for key in client().scan_iter("slipway:rate:*"):
        client().delete(key)
    earlier = now() - timedelta(seconds=1)
    Delivery.objects.using("operator").filter(status__in=("queued", "sending")).update(
        next_attempt_at=earlier, lease_until=earlier
    )
    OutboxJob.objects.using("operator").update(not_before=earlier)


def test_parts_go_out_in_order_once_each_and_each_attempt_is_on_record(acme, place):
    write(acme, place, "one", "two")
    drain()
    drain()
    assert place.texts() == ["one", "two"]
    assert [row.status for row in rows()] == ["sent", "sent"]
    assert custody() == ["sent", "sent"]


def test_what_a_chat_does_not_take_at_once_is_put_back_with_a_time_of_its_own(acme, place):
    for number in range(5):
        write(acme, place, f"message {number}", batch=f"b{number}")
    drain()
    # Three at once after a pause; nobody sleeps for the others.
    assert place.texts() == ["message 0", "message 1", "message 2"]
    waits = [(row.next_attempt_at - now()).total_seconds() for row in (*rows("b3"), *rows("b4"))]
    assert 0 < waits[0] < 1.5
    assert [row.attempts for row in (*rows("b3"), *rows("b4"))] == [0, 0]
    assert custody("b3") == custody("b4") == []
    jobs = OutboxJob.objects.using("operator").filter(type="delivery.send", not_before__gt=now())
    # The last one is woken by the one before it.
    assert [job.payload["batch"] for job in jobs] == ["b3"]


def test_slots_are_kept_in_the_order_of_asking_and_a_throttled_chat_waits_for_whoever_was_told(acme):
    channel = buckets.Channel(uuid.uuid4(), uuid.uuid4(), ChatKind.DIRECT)
    other = buckets.Channel(channel.link_id, uuid.uuid4(), ChatKind.DIRECT)
    waits = [buckets.take_slot(TELEGRAM, channel, f"d{number}") for number in range(5)]
    assert waits[:3] == [0, 0, 0]
    assert 0 < waits[3] <= 1 < waits[4] <= 2
    # Asking again keeps the time; another chat of the link is free; a courtesy takes no time of its own.
    assert buckets.take_slot(TELEGRAM, channel, "d4") == pytest.approx(waits[4], abs=0.5)
    assert buckets.take_slot(TELEGRAM, other, "d5") == 0
    assert not buckets.find_slot(TELEGRAM, channel)
    assert buckets.find_slot(TELEGRAM, other)
    buckets.hold_chat(TELEGRAM, other, "d6", 7)
    assert buckets.take_slot(TELEGRAM, other, "d7") == pytest.approx(8, abs=0.5)
    assert buckets.take_slot(TELEGRAM, other, "d6") == pytest.approx(7, abs=0.5)


def test_a_group_of_telegrams_gets_twenty_a_minute_and_a_link_thirty_a_second(acme):
    group = buckets.Channel(uuid.uuid4(), uuid.uuid4(), ChatKind.GROUP)
    waits = [buckets.take_slot(TELEGRAM, group, f"g{number}") for number in range(23)]
    assert waits[-1] == pytest.approx(60, abs=1)
    link_id = uuid.uuid4()
    waits = [
        buckets.take_slot(TELEGRAM, buckets.Channel(link_id, uuid.uuid4(), ChatKind.DIRECT), f"l{number}")
        for number in range(60)
    ]
    assert waits[:30] == [0.0] * 30
    assert waits[-1] == pytest.approx(1, abs=0.3)


def test_a_throttled_part_waits_as_long_as_the_platform_says_and_those_behind_it_with_it(acme, place):
    place.server.faults.plan(Fault("throttle", retry_after_s=20, method=POST[place.kind]))
    write(acme, place, "first", batch="b1")
    write(acme, place, "second", batch="b2")
    drain()
    assert place.texts() == []
    assert (rows("b1")[0].next_attempt_at - now()).total_seconds() == pytest.approx(20, abs=2)
    assert custody("b1") == ["throttled"]


def test_a_message_waits_for_an_earlier_one_of_its_chat_but_not_for_ever(acme, place, monkeypatch):
    place.server.faults.plan(Fault("error", method=POST[place.kind]))
    write(acme, place, "first", batch="b1")
    write(acme, place, "second", batch="b2")
    drain()
    assert place.texts() == []
    let_time_pass()
    drain()
    let_time_pass()
    drain()
    assert place.texts() == ["first", "second"]
    place.server.faults.plan(Fault("error", method=POST[place.kind]))
    write(acme, place, "third", batch="b3")
    write(acme, place, "fourth", batch="b4")
    drain()
    monkeypatch.setattr(line, "PATIENCE", timedelta(0))
    assert (acme.organisation.id, "b4") in all_tenants_due_batches()
    chats.send_batch(SendDelivery(org_id=acme.organisation.id, batch="b4"))
    assert place.texts()[2:] == ["fourth"]


def test_a_sender_that_died_is_on_record_and_the_platform_is_asked_before_a_repeat(acme, place):
    write(acme, place, "once")
    drain()
    assert take_next_part(acme.organisation.id, "b") is None
    # The worker died between the platform's yes and our record of it.
    Delivery.objects.using("operator").update(status="sending", lease_until=now(), next_attempt_at=now())
    DeliveryAttempt.objects.using("operator").update(outcome="", finished_at=None)
    assert all_tenants_due_batches() == [(acme.organisation.id, "b")]
    let_time_pass()
    chats.send_batch(SendDelivery(org_id=acme.organisation.id, batch="b"))
    if place.kind == "slack":
        assert (place.texts(), custody()) == (["once"], ["unknown", "found"])
    else:
        assert (place.texts(), custody()) == (["once", "once"], ["unknown", "sent"])
        last = DeliveryAttempt.objects.using("operator").latest("id")
        assert "cannot be asked" in last.note
    assert rows()[0].status == "sent"


def test_a_lost_lease_changes_nothing(acme, telegram):
    write(acme, telegram, "one")
    lost = take_next_part(acme.organisation.id, "b")
    assert lost is not None
    assert all_tenants_due_batches() == []
    let_time_pass()
    again = take_next_part(acme.organisation.id, "b")
    assert again is not None
    assert again.is_after_unknown
    note_part_sent(acme.organisation.id, lost, "late")
    note_part_delayed(acme.organisation.id, lost, error="late", retry_after_s=None)
    assert rows()[0].status == "sending"
    note_part_sent(acme.organisation.id, again, "1")
    assert rows()[0].platform_message_id == "1"


def test_a_part_backs_off_by_doubling_until_it_expires_with_its_reason(acme, telegram):
    write(acme, telegram, "one", "two")
    for attempt in range(1, 15):
        part = take_next_part(acme.organisation.id, "b")
        assert part is not None
        note_part_delayed(acme.organisation.id, part, error="platform_away: gone", retry_after_s=None)
        wait_s = (rows()[0].next_attempt_at - now()).total_seconds()
        assert wait_s == pytest.approx(min(2 ** (attempt - 1), 900), abs=1)
        let_time_pass()
    Delivery.objects.using("operator").update(expires_at=now())
    with recorded() as seen:
        assert take_next_part(acme.organisation.id, "b") is None
    assert [row.status for row in rows()] == ["failed", "failed"]
    assert rows()[0].error == "Not delivered in time. platform_away: gone"
    assert seen.job_types == ["delivery.report"]
    assert all_tenants_due_batches() == []


def test_a_delivery_that_died_is_told_once_in_the_chat_and_to_whose_work_it_was(acme, place):
    task = submit(acme, deliver_to=deliver_to(place))
    place.server.faults.plan(Fault("forbid", method=POST[place.kind]))
    write(acme, place, "an answer that is not taken", "its second part", task=task)
    for _ in range(2):
        drain("delivery.send", "delivery.report")
    (told,) = place.texts()
    assert "could not be delivered here" in told
    assert "an answer that is not taken" in told
    notices = Event.objects.using("operator").filter(type="notification.created")
    assert [notice.stream for notice in notices] == [f"user:{acme.owner.user_id}"]
    assert notices[0].data["task_id"] == str(task.id)
    assert custody() == ["refused"]
    # A person may send it again, with what came after it, and it is not told a second time.
    retry_delivery(acme.owner, rows()[0].id)
    with pytest.raises(Conflict):
        retry_delivery(acme.owner, rows()[0].id)
    place.server.faults.plan(Fault("forbid", method=POST[place.kind]))
    drain("delivery.send", "delivery.report")
    assert len(place.texts()) == 1
    retry_delivery(acme.owner, rows()[0].id)
    let_time_pass()
    drain("delivery.send", "delivery.report")
    assert place.texts()[1:] == ["an answer that is not taken", "its second part"]


def test_a_chat_that_takes_nothing_at_all_is_reported_to_those_who_run_the_organisation(acme, telegram):
    telegram.server.faults.plan(Fault("forbid", count=9, method="sendmessage"))
    write(acme, telegram, "for nobody")
    drain("delivery.send", "delivery.report")
    assert telegram.texts() == []
    (notice,) = Event.objects.using("operator").filter(type="notification.created")
    assert notice.stream == f"user:{acme.owner.user_id}"
    assert "for nobody" in notice.data["message"]
    # The word about it failed as well, and of that nobody is told.
    assert {row.status for row in Delivery.objects.using("operator").all()} == {"failed"}
    assert not OutboxJob.objects.using("operator").filter(type__startswith="delivery.").exists()
