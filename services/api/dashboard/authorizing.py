"""Authorizations that people give elsewhere: the page with the link there, and what they come back with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect

from services.api.dashboard.pages import PageRequest, show
from services.domain.errors import Missing, SlipwayError
from services.domain.identity.models import User
from services.domain.oauth_grants.models import GrantedModel

RowT = TypeVar("RowT", bound=GrantedModel)
RowT_co = TypeVar("RowT_co", bound=GrantedModel, covariant=True)


class Finish(Protocol[RowT_co]):
    """Finishes an authorization for a person. Raises: SlipwayError."""

    def __call__(
        self, user: User, /, *, state: str, code: str, issuer: str | None, browser: str
    ) -> RowT_co: ...


def show_way_there(
    request: PageRequest,
    begin: Callable[[str], str],
    template: str,
    context: Callable[[], dict[str, object]],
    *,
    back: HttpResponse,
) -> HttpResponse:
    """Begin an authorization for this browser. The way there is a link: a form's answer must not lead off this site."""
    try:
        address = begin(request.session.session_key or "")
    except Missing:
        raise
    except SlipwayError as error:
        messages.error(request, error.message)
        return back
    return show(
        request, template, lambda: {**context(), "address": address, "host": urlsplit(address).hostname}
    )


def take_back(
    request: PageRequest,
    finish: Finish[RowT],
    *,
    all_of_them: str,
    place_of: Callable[[RowT], HttpResponse],
) -> HttpResponse:
    """Take what a person was sent back with, and show what is connected by it, if it is this organisation's."""
    given = request.GET
    if "error" in given or "code" not in given:
        messages.error(request, "The authorization was not given.")
        return redirect(all_of_them)
    try:
        row = finish(
            request.person,
            state=given.get("state", ""),
            code=given["code"],
            issuer=given.get("iss"),
            browser=request.session.session_key or "",
        )
    except SlipwayError as error:
        messages.error(request, error.message)
        return redirect(all_of_them)
    messages.success(request, f"{row.name} is connected.")
    return place_of(row) if row.org_id == request.organisation.id else redirect(all_of_them)
