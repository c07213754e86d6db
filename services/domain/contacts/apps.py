"""The contacts as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class ContactsConfig(AppConfig):
    """Registers what becomes of unknown senders for the approvals, once all models are there."""

    name = "services.domain.contacts"

    def ready(self) -> None:
        """Register."""
        from services.domain.contacts.holding import register

        register()
