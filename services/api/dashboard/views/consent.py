"""The page at which a program asks a person. It leads back to the program only after the person's own click."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode, urlsplit

from django.http import HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from services.api.dashboard.forms.consent import ConsentForm
from services.api.dashboard.pages import PageRequest, page, remember_organisation, show
from services.api.middleware import policy_with_form_target
from services.api.oauth.documents import find_client
from services.api.oauth.requests import count_request, parameters
from services.domain.agents.models import Agent
from services.domain.agents.queries import list_agents_by_name
from services.domain.errors import Missing, OAuthRefused
from services.domain.identity.models import Organisation
from services.domain.oauth.consent import Wish, allow, read_wish
from services.domain.oauth.models import ClientKind, OAuthClient
from services.domain.oauth.redirects import form_target, host_of, is_registered
from services.domain.oauth.resources import issuer
from services.domain.tenancy.transaction import tenant_transaction

MAX_REQUESTS = 240


class BackToTheProgram(HttpResponseRedirect):
    """Leads to an address that the client registered, whatever its scheme."""

    def __init__(self, address: str) -> None:
        self.allowed_schemes = [urlsplit(address).scheme]
        super().__init__(address)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def authorize(request: PageRequest) -> HttpResponse:
    """Ask the person, or do as the person said. Source: OAuth 2.1, section 4.1."""
    if request.method == "POST" and request.POST.get("decision") == "switch":
        return _switch(request)
    count_request("authorize", str(request.person.pk), most=MAX_REQUESTS)
    given = parameters(request.GET)
    client, redirect_uri = _find_way_back(request, given)
    state = given.get("state")
    try:
        wish = read_wish(request.actor, client, redirect_uri, given)
    except OAuthRefused as error:
        return _refuse(request, client, redirect_uri, error, state)
    form = ConsentForm(request.POST or None, wish=wish, agents=_agents(request))
    if request.method == "POST" and request.POST.get("decision") != "allow":
        return BackToTheProgram(_answer(redirect_uri, state, error="access_denied"))
    made: list[str] = []
    if request.method == "POST" and form.submit(
        lambda _: made.append(allow(request.actor, wish, form.choice()))
    ):
        return BackToTheProgram(_answer(redirect_uri, state, code=made[0]))
    return _ask(request, wish, form)


def _find_way_back(request: PageRequest, given: dict[str, str]) -> tuple[OAuthClient, str]:
    """Return the client and its address. Without both nobody is sent anywhere. Raises: OAuthRefused."""
    client = find_client(given.get("client_id", ""), request.organisation.id)
    if client is None:
        raise OAuthRefused("invalid_client", "The program that sent you here is not known.")
    redirect_uri = given.get("redirect_uri", "")
    if not is_registered(redirect_uri, client.redirect_uris):
        raise OAuthRefused(
            "invalid_request", "The program wants its answer at an address that is not its own."
        )
    return client, redirect_uri


def _ask(request: PageRequest, wish: Wish, form: ConsentForm) -> HttpResponse:
    client = wish.client
    response = show(
        request,
        "dashboard/connected_apps/consent.html",
        lambda: {
            "client": client,
            "vouched": client.kind == ClientKind.GIVEN,
            "document_host": urlsplit(client.client_id).hostname
            if client.kind == ClientKind.DOCUMENT
            else "",
            "way_back": host_of(wish.redirect_uri),
            "resource": wish.resource,
            "form": form,
            "others": _others(request),
        },
        status=form.status,
    )
    # The answer to the form leads to the program, and a browser asks the page's policy about that too.
    response["Content-Security-Policy"] = policy_with_form_target(form_target(wish.redirect_uri))
    return response


def _refuse(
    request: PageRequest, client: OAuthClient, redirect_uri: str, error: OAuthRefused, state: str | None
) -> HttpResponse:
    """Say what is wrong, and let the person take it back. A redirect by itself would serve any stranger's client."""
    address = _answer(redirect_uri, state, error=error.error, error_description=error.message)
    return show(
        request,
        "dashboard/connected_apps/refused.html",
        lambda: {
            "client": client,
            "error": error,
            "address": address,
            "way_back": host_of(redirect_uri),
            # What is not there may be there in another organisation of the person's.
            "others": _others(request),
        },
        status=400,
    )


def _switch(request: PageRequest) -> HttpResponse:
    """Choose another organisation, and ask again."""
    for organisation, _ in request.organisations:
        if str(organisation.id) == request.POST.get("to"):
            remember_organisation(request, organisation)
            return redirect(request.get_full_path())
    raise Missing("There is no such organisation.")


def _answer(redirect_uri: str, state: str | None, **words: str) -> str:
    """Return the address with the answer in it. Source: RFC 6749, section 4.1.2; RFC 9207, section 2."""
    fields: dict[str, Any] = {**words, **({"state": state} if state is not None else {}), "iss": issuer()}
    parts = urlsplit(redirect_uri)
    kept = QueryDict(parts.query).urlencode() if parts.query else ""
    return parts._replace(query="&".join(filter(None, (kept, urlencode(fields))))).geturl()


def _others(request: PageRequest) -> list[Organisation]:
    return [other for other, _ in request.organisations if other.id != request.organisation.id]


def _agents(request: PageRequest) -> list[Agent]:
    with tenant_transaction(request.actor.org_id):
        return list_agents_by_name(request.actor)
