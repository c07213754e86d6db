"""The paths below `/hooks/`."""

from __future__ import annotations

from django.urls import path, re_path

from services.api.hooks.views import PlatformHook, PlaybookHook
from services.api.views import no_such_route

urlpatterns = [
    path("playbook/<uuid:playbook_id>", PlaybookHook.as_view()),
    path("<slug:kind>/<uuid:link_id>", PlatformHook.as_view()),
    re_path(r"^", no_such_route),
]
