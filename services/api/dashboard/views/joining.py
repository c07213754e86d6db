"""Coming into an organisation: by an invitation, or by making one."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.cache import add_never_cache_headers
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods

from services.api.dashboard.forms.settings import OrganisationForm
from services.api.dashboard.pages import person_page, remember_organisation
from services.api.signing.adapters import INVITATION_KEY
from services.domain.errors import InvitationMissing, SlipwayError
from services.domain.identity.invitations import all_tenants_accept_invitation, all_tenants_find_offer
from services.domain.identity.models import Organisation, User
from services.domain.identity.organisations import all_tenants_check_name, all_tenants_open_organisation


@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def join(request: HttpRequest, text: str) -> HttpResponse:
    """Show what an invitation offers to whoever holds its link, and let a signed-in person accept it."""
    person = request.user if isinstance(request.user, User) else None
    context: dict[str, Any] = {"person": person, "text": text}
    status = 200
    try:
        context["offer"] = all_tenants_find_offer(text)
        if person is None:
            request.session[INVITATION_KEY] = text
        if request.method == "POST" and person is not None:
            organisation = all_tenants_accept_invitation(person, text)
            remember_organisation(request, organisation)
            messages.success(request, f"You are a member of {organisation.name} now.")
            return redirect("dashboard:home")
    except InvitationMissing as error:
        context |= {"offer": None, "error": error}
        status = error.status
    except SlipwayError as error:
        context["error"] = error
        status = error.status
    response = render(request, "dashboard/join.html", context, status=status)
    add_never_cache_headers(response)
    return response


@person_page
@require_http_methods(["GET", "HEAD", "POST"])
def new_organisation(request: HttpRequest, person: User) -> HttpResponse:
    """Make an organisation of one's own."""
    form = OrganisationForm(request.POST or None)
    made: list[Organisation] = []
    if request.method == "POST" and form.submit(
        lambda given: made.append(all_tenants_open_organisation(person, **given))
    ):
        remember_organisation(request, made[0])
        return redirect("dashboard:home")
    slug = str(form["slug"].value() or "")
    suggestion = all_tenants_check_name(slug).suggestion if form.errors and slug else ""
    context = {"form": form, "suggestion": suggestion}
    return render(request, "dashboard/organisation_new.html", context, status=form.status)
