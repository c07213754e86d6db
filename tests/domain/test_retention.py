"""What was said in chats is forgotten when it is older than the organisation wants it, and nothing else is."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest

from conftest import Tenant
from services.domain.chats.models import (
    Chat,
    Decision,
    Delivery,
    DeliveryAttempt,
    InboundEvent,
    InboundMessage,
)
from services.domain.identity.models import Organisation
from services.domain.outbox.models import OutboxJob
from services.domain.retention import chats as retention
from services.domain.retention.chats import all_tenants_forget_old_chats
from services.domain.rooms.actions import open_room
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.environment import environment
from services.kit.ids import first_uuid7_at


def id_of(days_ago: float) -> uuid.UUID:
    """Return an id as it was given so many days ago."""
    base = first_uuid7_at(now() - timedelta(days=days_ago))
    return uuid.UUID(int=base.int + uuid.uuid4().int % 2**60)


class Kept:
    """A chat of a tenant, with what was said in it long ago and lately."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant, self.chat = tenant, open_room(tenant.owner, "Plans")

    def message(self, days_ago: float, **fields: Any) -> InboundMessage:
        values = {"routed_at": now(), "outcome": "dropped: bot", "text": "hello", "sent_at": now()} | fields
        with tenant_transaction(self.tenant.organisation.id):
            row = InboundMessage.objects.create(
                id=id_of(days_ago),
                org_id=self.tenant.organisation.id,
                chat=self.chat,
                link_id=self.chat.link_id,
                dedupe_key=str(uuid.uuid4()),
                sender_id="u1",
                **values,
            )
            Decision.objects.create(org_id=row.org_id, message=row, chat=self.chat)
        return row

    def delivery(self, days_ago: float, **fields: Any) -> Delivery:
        with tenant_transaction(self.tenant.organisation.id):
            row = Delivery.objects.create(
                id=id_of(days_ago),
                org_id=self.tenant.organisation.id,
                chat=self.chat,
                link_id=self.chat.link_id,
                batch=str(uuid.uuid4()),
                part=0,
                text="hello",
                **{"status": "sent", **fields},
            )
            DeliveryAttempt.objects.create(org_id=row.org_id, delivery=row, outcome="sent")
        return row

    def left(self) -> list[int]:
        models = (InboundMessage, Decision, Delivery, DeliveryAttempt)
        org_id = self.tenant.organisation.id
        return [model.objects.using("operator").filter(org_id=org_id).count() for model in models]


@pytest.fixture
def kept(acme: Tenant) -> Kept:
    return Kept(acme)


def sweep() -> int:
    Chat.objects.using("operator").update(next_forget_at=now())
    return all_tenants_forget_old_chats()


def test_what_is_older_than_the_installation_keeps_it_goes_with_what_hangs_on_it(kept, monkeypatch):
    monkeypatch.setattr(environment(), "chat_keep_days", 30)
    kept.message(31)
    kept.delivery(31)
    kept.message(29)
    kept.delivery(29)
    with tenant_transaction(kept.chat.org_id):
        InboundEvent.objects.create(
            id=id_of(31), org_id=kept.chat.org_id, chat=kept.chat, link_id=kept.chat.link_id,
            dedupe_key="e", kind="deleted", sender_id="u1", handled_at=now(),
        )  # fmt: skip
    assert sweep() == 3
    assert kept.left() == [1, 1, 1, 1]
    assert InboundEvent.objects.using("operator").count() == 0
    # Each chat is looked at once a day.
    assert Chat.objects.using("operator").get().next_forget_at > now() + timedelta(hours=23)
    assert all_tenants_forget_old_chats() == 0


def test_what_is_not_settled_stays_however_old_it_is(kept, monkeypatch):
    monkeypatch.setattr(environment(), "chat_keep_days", 30)
    kept.message(400, routed_at=None)
    kept.delivery(400, status="queued")
    assert sweep() == 0
    assert kept.left() == [1, 1, 1, 1]


def test_an_organisation_may_keep_its_own_longer_shorter_or_for_ever(kept, globex, monkeypatch):
    monkeypatch.setattr(environment(), "chat_keep_days", 30)
    other = Kept(globex)
    for one in (kept, other):
        one.message(10)
        one.message(100)
    rows = Organisation.objects.using("operator")
    rows.filter(id=kept.tenant.organisation.id).update(chat_keep_days=7)
    rows.filter(id=globex.organisation.id).update(chat_keep_days=0)
    assert sweep() == 2
    assert (kept.left()[0], other.left()[0]) == (0, 2)


def test_much_that_is_old_goes_in_rounds(kept, monkeypatch):
    monkeypatch.setattr(retention, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(retention, "CHATS_AT_ONCE", 1)
    for _ in range(5):
        kept.message(400)
    assert [sweep(), *(all_tenants_forget_old_chats() for _ in range(3))] == [2, 2, 1, 0]
    assert kept.left()[0] == 0


def test_the_bytes_of_a_file_go_with_its_delivery(kept):
    payload = {"key": "outgoing/x/plan", "name": "plan", "content_type": "text/plain", "size_bytes": 3}
    kept.delivery(400, kind="file", payload=payload)
    assert sweep() == 1
    job = OutboxJob.objects.using("operator").get(type="objects.forget")
    assert job.payload["keys"] == ["outgoing/x/plan"]
