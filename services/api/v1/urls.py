"""The paths below `/v1/`."""

from __future__ import annotations

from django.urls import path, re_path
from django.views.generic import RedirectView

from services.api.v1.documentation import show_document
from services.api.v1.routes import ROUTES
from services.api.views import no_such_route

urlpatterns = [
    path("openapi.json", show_document, name="openapi"),
    path("docs", RedirectView.as_view(pattern_name="reference", permanent=True)),
    *(path(route, endpoint.as_view()) for route, endpoint in ROUTES),
    re_path(r"^", no_such_route),
]
