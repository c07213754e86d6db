"""Which messages show that they were taken up, before there is an answer."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from services.domain.chats.actions import read_link_config
from services.domain.chats.models import InboundMessage
from services.domain.contacts.holding import HELD
from services.domain.ports.chat import Place
from services.domain.tenancy.transaction import tenant_transaction

TAKEN_UP = ("task:", HELD)


@dataclass(frozen=True, slots=True)
class TakenUp:
    """A message that became work, or waits for a person's word. `config` is open: do not log it."""

    kind: str
    config: dict[str, Any]
    place: Place
    message_id: str


def find_taken_up(org_id: uuid.UUID, message_id: uuid.UUID) -> TakenUp | None:
    """Return a routed message that somebody will answer, or None."""
    with tenant_transaction(org_id):
        message = InboundMessage.objects.select_related("chat", "link").filter(id=message_id).first()
        if message is None or not message.outcome.startswith(TAKEN_UP):
            return None
        return TakenUp(
            message.link.kind,
            read_link_config(message.link),
            Place(message.chat.platform_chat_id, message.thread_id or None),
            message.platform_message_id,
        )
