"""The vault as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class VaultConfig(AppConfig):
    """Registers what the vault does for the approvals, once all models are there."""

    name = "services.domain.vault"

    def ready(self) -> None:
        """Register."""
        from services.domain.vault.trust import register

        register()
