"""The api service as a Django app, so that its management commands are found."""

from __future__ import annotations

from django.apps import AppConfig


class ApiConfig(AppConfig):
    """Holds no models: rows belong to the domain."""

    name = "services.api"
    label = "api"

    def ready(self) -> None:
        """Have the changes of accounts recorded."""
        from services.api.signing.records import connect

        connect()
