"""What is shown on a message that was taken up, and what a platform tells afterwards of what went out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest

from conftest import Tenant
from services.adapters.chat.registry import build_adapters
from services.api.hooks import receive
from services.domain.chats.actions import create_link
from services.domain.chats.models import Chat, Delivery, DeliveryAttempt, DeliveryKind
from services.domain.chats.sending import Piece, Spot, write_message
from services.domain.outbox.jobs import NoteFailure, parse_job
from services.domain.outbox.models import OutboxJob
from services.domain.ports.chat import HookReply, HookRequest
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.worker.jobs import EXECUTORS, chats
from tests.fakes.chat_places import drain
from tests.fakes.serving import Fault
from tests.fakes.whatsapp_server import NUMBER_ID, PERSON_ID, FakeWhatsapp, sign

SECRET = "an-app-secret"


class Number:
    """A linked number, and what tests ask of it."""

    def __init__(self, tenant: Tenant, server: FakeWhatsapp, template: str) -> None:
        self.server, self.org_id = server, tenant.organisation.id
        config = {
            "phone_number_id": NUMBER_ID,
            "access_token": "EAAJB0123456789abcdefghij",
            "app_secret": SECRET,
        }
        self.link = create_link(
            tenant.owner,
            kind="whatsapp",
            name="WhatsApp",
            config=config | {"template": template},
            default_agent_id=tenant.agent.id,
            unknown_senders="public",
        )

    def hears(self, call: dict[str, object]) -> HookReply:
        """Receive a call as the hook does."""
        body = json.dumps(call).encode()
        request = HookRequest("POST", sign(body, SECRET), {}, body, now())
        return receive.receive_update("whatsapp", self.link.id, request)

    def says(self, text: str, kind: DeliveryKind = DeliveryKind.TEXT) -> Delivery:
        """Send a message to the person, who has a chat by then."""
        with tenant_transaction(self.org_id):
            chat, _ = Chat.objects.get_or_create(
                link=self.link,
                platform_chat_id=PERSON_ID,
                defaults={"org_id": self.org_id, "kind": "direct", "title": "Bob"},
            )
            (row,) = write_message(Spot(chat), [Piece(text, kind)], batch=f"test:{text}", task=None).rows
        drain("delivery.send")
        return self.read(row)

    def read(self, row: Delivery) -> Delivery:
        """Return a delivery as it is now."""
        return Delivery.objects.using("operator").get(id=row.id)

    def custody(self, row: Delivery) -> list[DeliveryAttempt]:
        """List the attempts on record, in order."""
        return list(DeliveryAttempt.objects.using("operator").filter(delivery_id=row.id).order_by("id"))

    def sent(self) -> list[tuple[str, str]]:
        """List kind and text of what the platform took."""
        return [(entry["type"], entry["text"]) for entry in self.server.sent.all()]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, database: None) -> Iterator[FakeWhatsapp]:
    with FakeWhatsapp() as running:
        built = build_adapters({"WHATSAPP_API_BASE": running.url})
        monkeypatch.setattr(chats, "adapters", lambda: built)
        monkeypatch.setattr(receive, "adapters", lambda: built)
        yield running


@pytest.fixture
def number(acme: Tenant, server: FakeWhatsapp) -> Number:
    return Number(acme, server, template="news")


def late_failures() -> list[NoteFailure]:
    """Take the failures that wait for their message to be on record."""
    rows = list(OutboxJob.objects.using("operator").filter(type="delivery.note_failure"))
    found = [parse_job(row.type, row.payload) for row in rows]
    return [job for job in found if isinstance(job, NoteFailure)]


def test_a_message_that_becomes_work_shows_that_it_was_taken_up(number: Number, server: FakeWhatsapp):
    number.hears(server.message("echo hello", id="wamid.in1"))
    drain("message.route")
    assert [entry["message_id"] for entry in server.read.all()] == ["wamid.in1"]


def test_a_message_that_nobody_answers_shows_nothing(acme: Tenant, number: Number, server: FakeWhatsapp):
    with tenant_transaction(number.org_id):
        number.link.default_agent_id = None
        number.link.save(update_fields=["default_agent"])
    number.hears(server.message("echo hello", id="wamid.in1"))
    drain("message.route")
    assert server.read.all() == []


def test_a_platform_that_cannot_show_it_holds_up_nothing(number: Number, server: FakeWhatsapp):
    server.faults.plan(Fault("error"))
    number.hears(server.message("echo hello", id="wamid.in1"))
    assert drain("message.route") == ["message.route"]


def test_a_delivery_keeps_the_furthest_that_it_has_come(number: Number, server: FakeWhatsapp):
    row = number.says("hello")
    for state, reached in (("sent", "sent"), ("read", "read"), ("delivered", "read"), ("read", "read")):
        number.hears(server.status_of(row.platform_message_id, state))
        assert number.read(row).reached == reached
    number.hears(server.status_of(row.platform_message_id, "failed", 131026))
    assert (number.read(row).status, number.read(row).error) == ("sent", "")


def test_a_failure_marks_what_had_gone_out_and_says_what_to_do(number: Number, server: FakeWhatsapp):
    row = number.says("hello")
    for _ in range(2):
        number.hears(server.status_of(row.platform_message_id, "failed", 131026))
    failed = number.read(row)
    assert failed.status == "failed"
    assert "cannot be reached" in failed.error
    assert [one.outcome for one in number.custody(row)] == ["sent", "refused"]
    assert "cannot be reached" in number.custody(row)[-1].note
    assert number.sent() == [("text", "hello")]
    assert OutboxJob.objects.using("operator").filter(type="delivery.report").count() == 1


def test_into_a_chat_that_is_closed_the_text_goes_once_more_in_the_template(
    number: Number, server: FakeWhatsapp
):
    row = number.says("hello")
    for _ in range(2):
        number.hears(server.status_of(row.platform_message_id, "failed", 131047))
    drain("delivery.send")
    again = number.read(row)
    assert (again.status, again.error) == ("sent", "")
    assert number.sent() == [("text", "hello"), ("template", "hello")]
    number.hears(server.status_of(again.platform_message_id, "failed", 131047))
    assert number.read(row).status == "failed"
    assert drain("delivery.send") == []


def test_without_a_template_it_fails_and_says_so(acme: Tenant, server: FakeWhatsapp):
    number = Number(acme, server, template="")
    row = number.says("hello")
    number.hears(server.status_of(row.platform_message_id, "failed", 131047))
    assert "24 hours" in number.read(row).error
    assert number.sent() == [("text", "hello")]


def test_a_failure_that_comes_before_the_record_is_noted_later(number: Number, server: FakeWhatsapp):
    row = number.says("hello")
    wamid = row.platform_message_id
    Delivery.objects.using("operator").filter(id=row.id).update(platform_message_id="")
    number.hears(server.status_of(wamid, "failed", 131026))
    assert number.read(row).status == "sent"
    (late,) = late_failures()
    Delivery.objects.using("operator").filter(id=row.id).update(platform_message_id=wamid)
    for _ in range(2):
        EXECUTORS[NoteFailure](late)
    assert number.read(row).status == "failed"


def test_a_report_with_our_key_is_the_record_of_what_its_sender_could_not_record(
    number: Number, server: FakeWhatsapp
):
    row = number.says("hello")
    later = now() + timedelta(seconds=60)
    Delivery.objects.using("operator").update(
        status="sending", platform_message_id="", sent_at=None, lease_until=later, next_attempt_at=later
    )
    DeliveryAttempt.objects.using("operator").update(outcome="", finished_at=None)
    for _ in range(2):
        number.hears(server.status_of(row.platform_message_id, "delivered"))
    found = number.read(row)
    assert (found.status, found.reached) == ("sent", "delivered")
    assert found.platform_message_id == row.platform_message_id
    assert [one.outcome for one in DeliveryAttempt.objects.using("operator").all()] == ["found"]
    drain("delivery.send")
    assert number.sent() == [("text", "hello")]


def test_what_is_told_of_messages_of_others_is_nothing(number: Number, server: FakeWhatsapp):
    number.says("hello")
    number.hears(server.status_of("wamid.of-another-app", "read"))
    number.hears(server.status_of("wamid.of-another-app", "failed", 131026))
    (late,) = late_failures()
    EXECUTORS[NoteFailure](late)
    assert Delivery.objects.using("operator").filter(status="failed").count() == 0


def test_another_tenants_report_changes_nothing(globex: Tenant, number: Number, server: FakeWhatsapp):
    row = number.says("hello")
    other = Number(globex, server, template="news")
    other.hears(server.status_of(row.platform_message_id, "failed", 131026))
    other.hears(server.status_of(row.platform_message_id, "read"))
    assert (number.read(row).status, number.read(row).reached) == ("sent", "")
