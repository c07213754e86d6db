"""Reading links, chats, wirings and deliveries."""

from __future__ import annotations

import uuid

from django.db.models import Prefetch, QuerySet

from services.domain.actors import Actor, require
from services.domain.chats.models import Chat, Delivery, DeliveryAttempt, InboundMessage, Link, Wiring
from services.domain.errors import ChatMessageMissing, ChatMissing, DeliveryMissing, LinkMissing, Missing


def list_links(actor: Actor) -> QuerySet[Link]:
    """Return the links without their sealed configuration; to be read in the tenant's transaction."""
    require(actor, "chats:read")
    return Link.objects.select_related("listener").defer("sealed_config", "listener__state")


def get_link(actor: Actor, link_id: uuid.UUID) -> Link:
    """Return one link. Raises: LinkMissing."""
    link = list_links(actor).filter(id=link_id).first()
    if link is None:
        raise LinkMissing("There is no such link.")
    return link


def list_chats(actor: Actor) -> QuerySet[Chat]:
    """Return the chats with their links; to be read in the tenant's transaction."""
    require(actor, "chats:read")
    return Chat.objects.select_related("link").defer("link__sealed_config")


def get_chat(actor: Actor, chat_id: uuid.UUID) -> Chat:
    """Return one chat. Raises: ChatMissing."""
    chat = list_chats(actor).filter(id=chat_id).first()
    if chat is None:
        raise ChatMissing("There is no such chat.")
    return chat


def lock_chat(chat_id: uuid.UUID) -> None:
    """Let nobody else store, route or change a message of this chat until this transaction ends."""
    # Not a key's lock: other rows go on to refer to the chat meanwhile.
    Chat.objects.select_for_update(no_key=True).filter(id=chat_id).first()


def list_wirings(actor: Actor) -> QuerySet[Wiring]:
    """Return the wirings with chat and agent; to be read in the tenant's transaction."""
    require(actor, "chats:read")
    return Wiring.objects.select_related("chat", "agent")


def get_wiring(actor: Actor, wiring_id: uuid.UUID) -> Wiring:
    """Return one wiring. Raises: Missing."""
    wiring = list_wirings(actor).filter(id=wiring_id).first()
    if wiring is None:
        raise Missing("There is no such wiring.")
    return wiring


def list_decided(actor: Actor, chat_id: uuid.UUID) -> QuerySet[InboundMessage]:
    """Return what came into a chat, each message with its decision; to be read in the tenant's transaction.

    One that waits to be routed has no decision yet. Raises: ChatMissing.
    """
    get_chat(actor, chat_id)
    return InboundMessage.objects.filter(chat_id=chat_id).select_related("decision")


def get_decided(actor: Actor, message_id: uuid.UUID) -> InboundMessage:
    """Return one message with its decision. Raises: ChatMessageMissing."""
    require(actor, "chats:read")
    message = InboundMessage.objects.filter(id=message_id).select_related("decision", "chat").first()
    if message is None:
        raise ChatMessageMissing("There is no such message.")
    return message


def list_last_decided(
    actor: Actor, chat_id: uuid.UUID, *, became: str = "", before: uuid.UUID | None = None, limit: int = 50
) -> list[InboundMessage]:
    """List what came into a chat, the newest first; `before` goes on from an earlier list. Raises: ChatMissing."""
    rows = list_decided(actor, chat_id)
    if became:
        rows = rows.filter(outcome__startswith=became)
    if before is not None:
        rows = rows.filter(id__lt=before)
    return list(rows.order_by("-id")[:limit])


def list_deliveries(actor: Actor) -> QuerySet[Delivery]:
    """Return the deliveries with their chats; to be read in the tenant's transaction."""
    require(actor, "chats:read")
    return Delivery.objects.select_related("chat")


def get_delivery(actor: Actor, delivery_id: uuid.UUID) -> Delivery:
    """Return one delivery with its custody, the attempts in order, at hand. Raises: DeliveryMissing."""
    attempts = Prefetch("custody", DeliveryAttempt.objects.order_by("started_at", "id"))
    rows = list_deliveries(actor).select_related("link", "task").defer("link__sealed_config")
    row = rows.prefetch_related(attempts).filter(id=delivery_id).first()
    if row is None:
        raise DeliveryMissing("There is no such delivery.")
    return row


def list_chats_of_link(actor: Actor, link_id: uuid.UUID, *, limit: int = 200) -> list[Chat]:
    """List the last chats of a link, each with its wirings and their agents at hand."""
    wirings = Prefetch("wirings", Wiring.objects.select_related("agent").order_by("-priority", "id"))
    return list(list_chats(actor).filter(link_id=link_id).prefetch_related(wirings).order_by("-id")[:limit])


def list_last_deliveries(
    actor: Actor, *, status: str = "", before: uuid.UUID | None = None, limit: int = 50
) -> list[Delivery]:
    """List deliveries, the newest first, with chat, link and task; `before` goes on from an earlier list."""
    rows = list_deliveries(actor).select_related("link", "task").defer("link__sealed_config")
    if status:
        rows = rows.filter(status=status)
    if before is not None:
        rows = rows.filter(id__lt=before)
    return list(rows.order_by("-id")[:limit])
