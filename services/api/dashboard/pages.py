"""What every page shares: who asks, for which organisation, the frame around it, and what an error looks like."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, cast

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.cache import add_never_cache_headers
from django.utils.http import urlencode
from django.views.decorators.csrf import csrf_protect

from services.api.dashboard.navigation import navigation_for
from services.domain.actors import Actor
from services.domain.approvals.queries import count_pending_approvals
from services.domain.errors import Conflict, Missing, SlipwayError, Unauthenticated
from services.domain.identity.models import Organisation, User
from services.domain.identity.organisations import may_create_organisations
from services.domain.identity.queries import all_tenants_organisations_of
from services.domain.tenancy.transaction import tenant_transaction

ORG_KEY = "org_id"
"""The session's key that holds the chosen organisation's id, as text."""

P = ParamSpec("P")


class PageRequest(HttpRequest):
    """A request of a signed-in person, acting in one organisation."""

    person: User
    actor: Actor
    organisation: Organisation
    organisations: list[tuple[Organisation, str]]


class OrganisationSwitched(Conflict):
    """The form was made for another organisation than the one that is chosen now."""

    code = "organisation_switched"


def page(
    view: Callable[Concatenate[PageRequest, P], HttpResponseBase],
) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
    """Make a view a page: sign-in required, an organisation chosen, every domain error a page or a JSON body."""

    def answer(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        response = _answer(view, request, *args, **kwargs)
        add_never_cache_headers(response)
        return response

    functools.update_wrapper(answer, view)
    return answer


def person_page(
    view: Callable[Concatenate[HttpRequest, User, P], HttpResponse],
) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
    """Make a view a page of a signed-in person, in whichever organisation or in none; errors are its own business."""

    def answer(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        person = request.user
        response = (
            view(request, person, *args, **kwargs) if isinstance(person, User) else _ask_to_sign_in(request)
        )
        add_never_cache_headers(response)
        return response

    functools.update_wrapper(answer, view)
    return csrf_protect(answer)


def _answer(
    view: Callable[Concatenate[PageRequest, P], HttpResponseBase],
    request: HttpRequest,
    *args: P.args,
    **kwargs: P.kwargs,
) -> HttpResponseBase:
    if not isinstance(request.user, User):
        return _ask_to_sign_in(request)
    entered = _enter(request, request.user)
    if entered is None:
        context = {"person": request.user, "may_create": may_create_organisations(request.user)}
        return render(request, "dashboard/no_organisation.html", context, status=403)
    try:
        _refuse_switched_organisation(entered)
        return view(entered, *args, **kwargs)
    except SlipwayError as error:
        return _error_page(entered, error)


def show(
    request: PageRequest, template: str, build: Callable[[], dict[str, Any]] = dict, *, status: int = 200
) -> HttpResponse:
    """Render a page inside the tenant's transaction, so that its queries see the tenant's rows and no others."""
    with tenant_transaction(request.actor.org_id):
        return render(request, template, {**_frame(request), **build()}, status=status)


def attempt(request: PageRequest, action: Callable[[], object], done: str) -> bool:
    """Run the action behind a button; what came of it is shown on the next page."""
    try:
        action()
    except Missing:
        raise
    except SlipwayError as error:
        messages.error(request, error.message)
        return False
    messages.success(request, done)
    return True


def wants_json(request: HttpRequest) -> bool:
    """Say whether the page's own script asks, and not a person's form."""
    return "application/json" in request.headers.get("Accept", "")


def json_error(error: SlipwayError) -> JsonResponse:
    """Return an error to the page's own script."""
    return JsonResponse({"error": {"code": error.code, "message": error.message}}, status=error.status)


def remember_organisation(request: HttpRequest, organisation: Organisation) -> None:
    """Choose the organisation that this browser's session acts in."""
    request.session[ORG_KEY] = str(organisation.id)


def _ask_to_sign_in(request: HttpRequest) -> HttpResponse:
    if wants_json(request):
        return json_error(Unauthenticated("Your session has ended. Sign in again."))
    target = f"{reverse('dashboard:sign-in')}"
    path = request.get_full_path() if request.method == "GET" else "/"
    return redirect(f"{target}?{urlencode({'next': path})}" if path != "/" else target)


def _enter(request: HttpRequest, person: User) -> PageRequest | None:
    """Find the chosen organisation among the person's, or take the first; None when there is none."""
    organisations = all_tenants_organisations_of(person)
    if not organisations:
        return None
    chosen = request.session.get(ORG_KEY)
    organisation, role = next(
        (entry for entry in organisations if str(entry[0].id) == chosen), organisations[0]
    )
    if str(organisation.id) != chosen:
        remember_organisation(request, organisation)
    entered = cast(PageRequest, request)
    entered.person = person
    entered.organisation, entered.organisations = organisation, organisations
    entered.actor = Actor(org_id=organisation.id, kind="user", role=role, user_id=person.pk)
    return entered


def _refuse_switched_organisation(request: PageRequest) -> None:
    """Refuse a form made before the organisation was switched in another tab: it would act in the wrong one."""
    if request.method != "POST":
        return
    if request.POST.get("org") != str(request.organisation.id):
        raise OrganisationSwitched(
            "You have switched to another organisation in the meantime. Nothing was changed; open the page again."
        )


def _error_page(request: PageRequest, error: SlipwayError) -> HttpResponse:
    if wants_json(request):
        return json_error(error)
    return show(request, "dashboard/error.html", lambda: {"error": error}, status=error.status)


def _frame(request: PageRequest) -> dict[str, Any]:
    """Return what the frame around every page needs."""
    return {
        "person": request.person,
        "organisation": request.organisation,
        "organisations": request.organisations,
        "role": request.actor.role,
        "may_write": request.actor.role != "viewer",
        "may_administer": request.actor.role in ("owner", "admin"),
        "may_create_organisations": may_create_organisations(request.person),
        "navigation": navigation_for(
            request.path, {"dashboard:approvals": count_pending_approvals(request.actor)}
        ),
    }
