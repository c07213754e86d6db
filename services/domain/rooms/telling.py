"""Telling readers that something is new in a room."""

from __future__ import annotations

from services.domain.chats.models import Chat
from services.domain.events.announcing import announce
from services.domain.events.types import RoomChanged

KIND = "web"
"""The kind of the link that all rooms of an organisation share."""


def tell_changed(room: Chat) -> None:
    """Tell the organisation's readers, inside the tenant's transaction. Emits: RoomChanged."""
    announce(RoomChanged(chat_id=str(room.id)))
