"""The platform's own answers to what people write."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

from services.domain.chats.models import InboundMessage
from services.domain.chats.sending import Piece, Spot, write_message
from services.domain.outbox.jobs import WriteReply, enqueue
from services.domain.tenancy.transaction import tenant_transaction

Render = Callable[[str, str], Sequence[str]]


def say(message: InboundMessage, words: str) -> None:
    """Answer a message in the platform's own words, in Markdown, once. Inside the tenant's transaction.

    Queues: WriteReply, as only adapters know how their platforms write.
    """
    enqueue(WriteReply(org_id=message.org_id, message_id=message.id, text=words))


def write_reply(org_id: uuid.UUID, message_id: uuid.UUID, text: str, render: Render) -> None:
    """Write an answer's deliveries, once. `render` writes a text in the markup of a kind of platform; it is pure.

    Nothing happens when the message is gone. Queues: SendDelivery.
    """
    with tenant_transaction(org_id):
        message = InboundMessage.objects.select_related("chat", "link").filter(id=message_id).first()
        if message is not None:
            spot = Spot(message.chat, message.thread_id, message.platform_message_id)
            pieces = [Piece(part) for part in render(message.link.kind, text)]
            write_message(spot, pieces, batch=f"reply:{message.id}", task=None)
