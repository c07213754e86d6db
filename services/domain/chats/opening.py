"""Chats that we begin: a person's direct chat with a bot, before that person has written."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from services.domain.actors import Actor, require
from services.domain.chats.models import Chat
from services.domain.chats.queries import get_link
from services.domain.events.announcing import announce_change
from services.domain.events.listed import ChatChanged
from services.domain.ports.chat import ChatKind, Place
from services.domain.tenancy.transaction import tenant_transaction

_KNOWN = 20


def list_known_places(actor: Actor, link_id: uuid.UUID) -> Sequence[Place]:
    """List some chats of a link, the last that came first. In the tenant's transaction. Raises: LinkMissing."""
    get_link(actor, link_id)
    ids = Chat.objects.filter(link_id=link_id).order_by("-id").values_list("platform_chat_id", flat=True)
    return [Place(chat_id) for chat_id in ids[:_KNOWN]]


def note_direct_chat(actor: Actor, link_id: uuid.UUID, place: Place, title: str) -> Chat:
    """Keep a direct chat that was begun on the platform, the one that is known already if there is one.

    No agent is wired to it: whoever began it says who speaks there.
    Emits: ChatChanged. Raises: LinkMissing, RoleMissing.
    """
    require(actor, "chats:write", role="admin")
    with tenant_transaction(actor.org_id):
        link = get_link(actor, link_id)
        chat, is_new = Chat.objects.get_or_create(
            link=link,
            platform_chat_id=place.chat_id,
            defaults={"org_id": actor.org_id, "kind": ChatKind.DIRECT, "title": title[:200]},
        )
        if is_new:
            announce_change(ChatChanged, chat, "created")
        return chat
