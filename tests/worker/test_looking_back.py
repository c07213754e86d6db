"""Before a second attempt a platform that keeps no key of ours is looked through for the words, where it shows them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from conftest import Tenant
from services.adapters.chat.registry import build_adapters
from services.adapters.chat.webex.config import WebexConfig
from services.domain.chats.actions import create_link
from services.domain.chats.models import Chat, Delivery, DeliveryAttempt
from services.domain.chats.outbound import take_next_part
from services.domain.chats.sending import Piece, Spot, write_message
from services.domain.outbox.jobs import SendDelivery
from services.domain.ports.chat import Place
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.worker.jobs import chats
from tests.fakes.webex_server import BOT_ID, DIRECT_ROOM, GROUP_ROOM, FakeWebex

CONFIG = {"bot_token": "a-token-of-nobody-at-all", "bot_id": BOT_ID}
WORDS = "Done."


class Room:
    """A room of Webex's to which the same words are sent again and again, by workers that may die."""

    def __init__(self, acme: Tenant, server: FakeWebex, room_id: str) -> None:
        self.org_id, self.server = acme.organisation.id, server
        self.place = Place(room_id)
        link = create_link(acme.owner, kind="webex", name="Bot", config=CONFIG)
        with tenant_transaction(self.org_id):
            self.chat = Chat.objects.create(
                org_id=self.org_id, link=link, platform_chat_id=room_id, kind="direct", title="The room"
            )

    def sends(self, batch: str, *, dies: str = "") -> list[str]:
        """Send the words; the first worker dies `before` or `after` the platform's yes. Returns the outcomes."""
        with tenant_transaction(self.org_id):
            write_message(Spot(self.chat), [Piece(WORDS)], batch=batch, task=None)
        if dies:
            assert take_next_part(self.org_id, batch) is not None
            if dies == "after":
                adapter = chats.adapters()["webex"]
                adapter.send(WebexConfig.model_validate(CONFIG), self.place, WORDS)
            past = now() - timedelta(seconds=1)
            rows = Delivery.objects.using("operator").filter(batch=batch)
            rows.update(lease_until=past, next_attempt_at=past)
        chats.send_batch(SendDelivery(org_id=self.org_id, batch=batch))
        attempts = DeliveryAttempt.objects.using("operator").filter(delivery__batch=batch)
        return list(attempts.order_by("id").values_list("outcome", flat=True))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, database: None) -> Iterator[FakeWebex]:
    with FakeWebex() as running:
        built = build_adapters({"WEBEX_API_BASE": running.url})
        monkeypatch.setattr(chats, "adapters", lambda: built)
        yield running


def test_what_arrived_is_found_and_the_same_words_of_another_message_are_not_taken_for_it(
    acme: Tenant, server: FakeWebex
):
    room = Room(acme, server, DIRECT_ROOM)
    assert room.sends("one") == ["sent"]
    assert room.sends("two", dies="after") == ["unknown", "found"]
    assert room.sends("three", dies="before") == ["unknown", "sent"]
    assert len(server.sent.all()) == 3


def test_where_a_bot_is_shown_nothing_it_is_sent_again_and_the_custody_says_so(
    acme: Tenant, server: FakeWebex
):
    room = Room(acme, server, GROUP_ROOM)
    assert room.sends("one", dies="after") == ["unknown", "sent"]
    assert "cannot be asked" in DeliveryAttempt.objects.using("operator").latest("id").note
    assert len(server.sent.all()) == 2
