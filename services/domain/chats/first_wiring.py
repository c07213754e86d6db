"""The wiring that a chat gets when nobody has said more than which agent answers in it."""

from __future__ import annotations

import uuid

from services.domain.chats.models import Chat, Engage, SessionMode, Wiring
from services.domain.events.announcing import announce_change
from services.domain.events.listed import WiringChanged
from services.domain.ports.chat import ChatKind


def wire_as_usual(chat: Chat, agent_id: uuid.UUID) -> Wiring:
    """Wire a chat to an agent by the usual rules: all that is said in a direct chat, mentions anywhere else.

    Inside the tenant's transaction. A wiring to this agent that is there already stays what it is.
    Emits: WiringChanged.
    """
    is_direct = chat.kind == ChatKind.DIRECT
    wiring, is_new = Wiring.objects.get_or_create(
        chat=chat,
        agent_id=agent_id,
        defaults={
            "org_id": chat.org_id,
            "engage": Engage.ALWAYS if is_direct else Engage.MENTION,
            "session_mode": SessionMode.SHARED if is_direct else SessionMode.PER_THREAD,
        },
    )
    if is_new:
        announce_change(WiringChanged, wiring, "created")
    return wiring
