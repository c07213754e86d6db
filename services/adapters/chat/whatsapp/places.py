"""How WhatsApp's places are named: a person by number or by the id for the business, a group as `group:<id>`. Pure.

Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/groups/groups-messaging
"""

from __future__ import annotations

import re
from typing import Any

from services.domain.errors import PlatformRefused
from services.domain.ports.chat import Place

# What a chat's id may have in the database.
MAX_CHAT_ID = 120
_GROUP = "group:"
_NUMBER = re.compile(r"\+?[0-9]{5,20}")
_USER_ID = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,110}")
_GROUP_ID = re.compile(rf"{_GROUP}([A-Za-z0-9+/=_.@-]{{1,114}})")


def group_place(group_id: str) -> Place:
    """Return the place of a group."""
    return Place(f"{_GROUP}{group_id}")


def is_group(place: Place) -> bool:
    """Say whether a place is a group."""
    return place.chat_id.startswith(_GROUP)


def recipient(place: Place) -> dict[str, Any]:
    """Say whom a message is for. Raises: PlatformRefused."""
    group = _GROUP_ID.fullmatch(place.chat_id)
    if group is not None:
        return {"recipient_type": "group", "to": group[1]}
    if _NUMBER.fullmatch(place.chat_id):
        return {"recipient_type": "individual", "to": place.chat_id}
    if _USER_ID.fullmatch(place.chat_id):
        return {"recipient_type": "individual", "recipient": place.chat_id}
    raise PlatformRefused("WhatsApp knows people by number, or by their id for the business, and groups.")
