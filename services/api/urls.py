"""Every path of the api service."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from services.api.service_document import SERVICE_PATH, describe_service
from services.api.v1.documentation import list_problems, show_problem, show_reference
from services.api.views import health, metrics, no_such_route, ready

urlpatterns = [
    path("health", health),
    path("ready", ready),
    path("metrics", metrics),
    path(SERVICE_PATH.lstrip("/"), describe_service),
    path("v1", no_such_route),
    path("v1/", include("services.api.v1.urls")),
    path("docs", show_reference, name="reference"),
    path("docs/problems", list_problems, name="problems"),
    path("docs/problems/<slug:code>", show_problem, name="problem"),
    path("", include("services.api.oauth.urls")),
    path("hooks/", include("services.api.hooks.urls")),
    # The desk has no way in of its own: it would pass by second factors and limits.
    path("admin/login/", RedirectView.as_view(pattern_name="dashboard:sign-in", query_string=True)),
    path("admin/", admin.site.urls),
    path("auth/", include("services.api.signing.urls")),
    path("", include("services.api.dashboard.urls")),
]

handler400 = "services.api.views.bad_request"
handler403 = "services.api.views.permission_denied"
handler404 = "services.api.views.page_not_found"
handler500 = "services.api.views.server_error"
