"""Messages of a chat that wait for an agent: replayed once it has one, or done with."""

from __future__ import annotations

import uuid

from django.db.models import Q

from services.domain.chats.models import InboundMessage
from services.domain.chats.queries import lock_chat
from services.domain.outbox.jobs import RouteMessage, enqueue

HELD = "held: unknown_chat"
REFUSED = "refused: unknown_chat"


def count_waiting(chat_id: uuid.UUID) -> int:
    """Return how many messages of a chat wait for an agent. Inside the tenant's transaction."""
    return InboundMessage.objects.filter(chat_id=chat_id, outcome__startswith=HELD).count()


def replay_waiting(org_id: uuid.UUID, chat_id: uuid.UUID) -> None:
    """Route anew what waits for an agent, and what waited until a person refused it. Inside the tenant's transaction.

    Locks: the chat, so that a message which is routed just now is not left waiting. Queues: RouteMessage.
    """
    lock_chat(chat_id)
    waiting = Q(outcome__startswith=HELD) | Q(outcome__startswith=f"{REFUSED} ")
    messages = list(InboundMessage.objects.filter(waiting, chat_id=chat_id).order_by("id"))
    for message in messages:
        message.routed_at, message.outcome = None, ""
        message.save(update_fields=["routed_at", "outcome"])
        enqueue(RouteMessage(org_id=org_id, message_id=message.id))


def give_up_waiting(chat_id: uuid.UUID, outcome: str) -> int:
    """Write down that nobody answers what waits; returns how many messages. Inside the tenant's transaction."""
    waiting = InboundMessage.objects.filter(chat_id=chat_id, outcome__startswith=HELD)
    return waiting.update(outcome=outcome)
