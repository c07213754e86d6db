"""The dashboard as a Django app: its templates, template tags and static files."""

from __future__ import annotations

from django.apps import AppConfig


class DashboardConfig(AppConfig):
    """Has no models of its own."""

    name = "services.api.dashboard"
    label = "dashboard"
