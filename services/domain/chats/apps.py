"""The chats as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class ChatsConfig(AppConfig):
    """Registers what becomes of chats without an agent for the approvals, once all models are there."""

    name = "services.domain.chats"

    def ready(self) -> None:
        """Register."""
        from services.domain.chats.registering import register

        register()
