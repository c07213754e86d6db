"""Telling readers that something is new in a room."""

from __future__ import annotations

from services.domain.chats.models import Chat
from services.domain.events.log import record_event
from services.domain.events.types import RoomChanged

KIND = "web"
"""The kind of the link that all rooms of an organisation share."""


def tell_changed(room: Chat) -> None:
    """Tell the organisation's readers, inside the tenant's transaction. Emits: RoomChanged."""
    record_event(f"org:{room.org_id}", RoomChanged(chat_id=str(room.id)))
