"""The API's first version as a Django app, so that its documentation page is found."""

from __future__ import annotations

from django.apps import AppConfig


class V1Config(AppConfig):
    """Holds no models."""

    name = "services.api.v1"
    label = "api_v1"
