"""The paths of the authorization server, but for the page at which people are asked."""

from __future__ import annotations

from django.urls import path

from services.api.oauth import device, views

urlpatterns = [
    path(".well-known/oauth-authorization-server", views.metadata),
    path(views.TOKEN_PATH.lstrip("/"), views.token),
    path(views.REGISTER_PATH.lstrip("/"), views.register),
    path(device.DEVICE_PATH.lstrip("/"), device.begin),
    path(views.REVOKE_PATH.lstrip("/"), views.revoke),
]
