"""The operators' desk as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class AdminDeskConfig(AppConfig):
    """Has no models of its own; `admin.py` registers the domain's."""

    name = "services.api.admin_desk"
    label = "admin_desk"
