"""Who calls: a bearer token, a signed-in person's session, or the realtime service on somebody's behalf.

Each turns the request into an `Actor`, found in DRF's `request.auth`. `request.user` decides nothing.
"""

from __future__ import annotations

import uuid

from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from services.api.http.signatures import authenticate_signed
from services.domain.actors import Actor
from services.domain.errors import Invalid, Missing, NotPermitted, TokenInvalid
from services.domain.identity.handover import HANDOVER_HEADER, unsign_actor
from services.domain.identity.models import User
from services.domain.identity.queries import (
    all_tenants_actor_of,
    all_tenants_authenticate,
    all_tenants_organisations_of,
)

Authenticated = tuple[None, Actor]

ORG_HEADER = "X-Slipway-Org"
ORG_PARAMETER = "org"
SESSION_ORG_KEY = "org_id"


class CsrfRefused(NotPermitted):
    """A request that a session authenticates came without the token that only our own pages know."""

    code = "csrf_failed"


class HandoverAuthentication(BaseAuthentication):
    """An actor whom the realtime service has authenticated and signed, seconds ago."""

    def authenticate(self, request: Request) -> Authenticated | None:
        """Return the signed actor. Raises: TokenInvalid."""
        signed = request.headers.get(HANDOVER_HEADER)
        return (None, unsign_actor(signed)) if signed else None


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer sw_…`."""

    def authenticate(self, request: Request) -> Authenticated | None:
        """Return the token's actor. Raises: TokenInvalid."""
        header = request.headers.get("Authorization")
        if header is None:
            return None
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":
            raise TokenInvalid("The Authorization header is not `Bearer <token>`.")
        return None, all_tenants_authenticate(token.strip())


class SignatureAuthentication(BaseAuthentication):
    """A request signed with a signing key, in place of a token that is sent."""

    def authenticate(self, request: Request) -> Authenticated | None:
        """Return the key's actor. Raises: TokenInvalid."""
        if "Signature-Input" not in request.headers:
            return None
        return None, authenticate_signed(request._request)


class SessionAuthentication(BaseAuthentication):
    """The session cookie of a signed-in person, with the CSRF token on everything that changes something."""

    def authenticate(self, request: Request) -> Authenticated | None:
        """Return the person as an actor of the chosen organisation. Raises: CsrfRefused, Missing, Invalid."""
        user = get_user(request._request)
        if isinstance(user, AnonymousUser) or not user.is_active:
            return None
        _require_csrf(request._request)
        return None, all_tenants_actor_of(user, _chosen_org(request._request, user))


def _chosen_org(request: HttpRequest, user: User) -> uuid.UUID:
    """Return the organisation that the request names, else the session's, else the only one."""
    organisations = [organisation for organisation, _ in all_tenants_organisations_of(user)]
    slug = request.headers.get(ORG_HEADER) or request.GET.get(ORG_PARAMETER)
    if slug:
        chosen = [organisation.id for organisation in organisations if organisation.slug == slug]
    else:
        kept = str(request.session.get(SESSION_ORG_KEY, ""))
        chosen = [organisation.id for organisation in organisations if str(organisation.id) == kept]
        if not chosen and len(organisations) > 1:
            raise Invalid(
                "Name the organisation.", fields={ORG_HEADER: "needed: you are a member of several"}
            )
        chosen = chosen or [organisation.id for organisation in organisations]
    if not chosen:
        raise Missing("There is no such organisation.")
    return chosen[0]


class _CsrfCheck(CsrfViewMiddleware):
    def _reject(self, request: HttpRequest, reason: str) -> HttpResponse:
        raise CsrfRefused("The CSRF token is missing or wrong.")


def _require_csrf(request: HttpRequest) -> None:
    check = _CsrfCheck(lambda _: HttpResponse())
    check.process_request(request)
    check.process_view(request, lambda _: HttpResponse(), (), {})
