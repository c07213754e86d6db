"""What people write on a platform: kept once, in order, and answered at once; a job routes it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import F

from services.domain.chats.actions import read_link_config
from services.domain.chats.first_wiring import wire_as_usual
from services.domain.chats.models import Chat, InboundMessage, Link
from services.domain.chats.queries import lock_chat
from services.domain.events.announcing import announce_change
from services.domain.events.listed import ChatChanged
from services.domain.media.offering import keep_files
from services.domain.outbox.jobs import RouteMessage, enqueue
from services.domain.ports.chat import InboundMessage as Incoming
from services.domain.tenancy.transaction import tenant_transaction


@dataclass(frozen=True, slots=True)
class LinkHandle:
    """A link, as far as a webhook needs it before anything is verified. `config` is open: do not log it."""

    org_id: uuid.UUID
    link_id: uuid.UUID
    kind: str
    config: dict[str, Any]


def all_tenants_find_link(link_id: uuid.UUID, kind: str) -> LinkHandle | None:
    """Return a link by the id in its hook's address, which is what tells the tenant; None when there is none."""
    link = Link.objects.using("operator").filter(id=link_id, kind=kind).first()
    if link is None:
        return None
    return LinkHandle(link.org_id, link.id, link.kind, read_link_config(link))


def store_inbound(handle: LinkHandle, messages: Sequence[Incoming]) -> int:
    """Keep verified messages, each once; returns how many were new.

    Locks: the chat, so that ids are in the order of commits. Queues: RouteMessage for each, in its transaction.
    """
    stored = 0
    for message in messages:
        with tenant_transaction(handle.org_id):
            chat = _keep_chat(handle, message)
            lock_chat(chat.id)
            row, is_new = InboundMessage.objects.get_or_create(
                link_id=handle.link_id,
                dedupe_key=message.dedupe_key[:200],
                defaults={
                    "org_id": handle.org_id,
                    "chat": chat,
                    "thread_id": message.place.thread_id or "",
                    "platform_message_id": message.message_id,
                    "reply_to": message.reply_to[:120],
                    "sender_id": message.sender.platform_id[:120],
                    "sender_name": message.sender.display_name[:200],
                    "is_bot": message.sender.is_bot,
                    "text": message.text.replace("\x00", ""),
                    "is_mention": message.is_mention,
                    "sent_at": message.sent_at,
                },
            )
            if is_new:
                keep_files(row, message.files)
                enqueue(RouteMessage(org_id=handle.org_id, message_id=row.id))
                stored += 1
    return stored


def count_unknown_update(handle: LinkHandle) -> None:
    """Count an update that means nothing to us, so that it does not vanish."""
    with tenant_transaction(handle.org_id):
        Link.objects.filter(id=handle.link_id).update(unknown_updates=F("unknown_updates") + 1)


def _keep_chat(handle: LinkHandle, message: Incoming) -> Chat:
    """Return the chat of a message; a new one is wired to the link's default agent, if it has one."""
    chat, is_new = Chat.objects.get_or_create(
        link_id=handle.link_id,
        platform_chat_id=message.place.chat_id,
        defaults={"org_id": handle.org_id, "kind": message.chat_kind, "title": message.chat_title[:200]},
    )
    if is_new:
        announce_change(ChatChanged, chat, "created")
        agent_id = Link.objects.values_list("default_agent_id", flat=True).get(id=handle.link_id)
        if agent_id is not None:
            wire_as_usual(chat, agent_id)
    return chat
