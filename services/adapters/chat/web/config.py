"""Rooms need no credentials."""

from __future__ import annotations

from services.adapters.chat.config import ChatConfig


class WebConfig(ChatConfig):
    """Nothing: whoever may write in a room is a member who has signed in."""
