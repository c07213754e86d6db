"""The paths below `/v1/`."""

from __future__ import annotations

from collections.abc import Iterator

from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.generic import RedirectView

from services.api.v1.documentation import show_document
from services.api.v1.routes import ROUTES
from services.api.views import no_such_route


def _by_first_word() -> Iterator[URLPattern | URLResolver]:
    """Yield the routes, those below one word together, so that a path is held against few of them."""
    below: dict[str, list[URLPattern]] = {}
    for route, endpoint in ROUTES:
        word, slash, rest = route.partition("/")
        if slash:
            below.setdefault(word, []).append(path(rest, endpoint.as_view()))
        else:
            yield path(word, endpoint.as_view())
    for word, patterns in below.items():
        yield path(f"{word}/", include(patterns))


urlpatterns = [
    path("openapi.json", show_document, name="openapi"),
    path("docs", RedirectView.as_view(pattern_name="reference", permanent=True)),
    *_by_first_word(),
    re_path(r"^", no_such_route),
]
