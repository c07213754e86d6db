"""The addresses of allauth's pages. What we have our own page for leads there."""

from __future__ import annotations

from django.urls import include, path
from django.views.generic import RedirectView

from services.api.views import no_such_page

urlpatterns = [
    path("login/", RedirectView.as_view(pattern_name="dashboard:sign-in", query_string=True)),
    # An account's address is what invitations are matched by: it does not change here.
    path("email/", no_such_page),
    path("sessions/", RedirectView.as_view(pattern_name="dashboard:security")),
    path("2fa/", RedirectView.as_view(pattern_name="dashboard:security"), name="mfa_index"),
    path("", include("allauth.urls")),
]
