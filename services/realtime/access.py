"""Who connects: an API token in a header, the browser's session, or a ticket. Checked now and again later."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any, Literal, Protocol
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.utils.crypto import constant_time_compare

from services.domain.actors import Actor
from services.domain.errors import (
    Invalid,
    Missing,
    NotPermitted,
    SlipwayError,
    TokenInvalid,
    Unauthenticated,
)
from services.domain.identity.handover import HANDOVER_HEADER, all_tenants_refresh_actor, sign_actor
from services.domain.identity.models import User
from services.domain.identity.queries import all_tenants_authenticate, all_tenants_organisations_of
from services.domain.identity.tickets import redeem_ticket
from services.kit.environment import environment
from services.kit.tokens import API_TOKEN_PREFIX, hash_token

_LONGEST_CREDENTIAL = 512
# Where the api service keeps the organisation that a person has chosen on the dashboard.
_SESSION_ORG_KEY = "org_id"


class OriginRefused(NotPermitted):
    """A page of another site tries to use the browser's session."""

    code = "origin_refused"


class OrganisationUnclear(Invalid):
    """The person is a member of several organisations and did not say which."""

    code = "organisation_unclear"


class Credential(Protocol):
    """What somebody has shown. `key` is equal for equal credentials, so that many connections need one check."""

    @property
    def key(self) -> tuple[str, str]: ...

    def all_tenants_verify(self) -> Actor:
        """Return the actor, as it stands now. Raises: Unauthenticated, Missing, NotPermitted, Invalid."""

    def headers_for_api(self, actor: Actor) -> dict[str, str]:
        """Return the headers under which the api service sees the same actor."""


@dataclass(frozen=True, slots=True)
class BearerCredential:
    token: str

    @property
    def key(self) -> tuple[str, str]:
        return ("bearer", hash_token(self.token))

    def all_tenants_verify(self) -> Actor:
        return all_tenants_authenticate(self.token)

    def headers_for_api(self, actor: Actor) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@dataclass(frozen=True, slots=True)
class SessionCredential:
    """The api service's session. `organisation` is the slug that the client asked for."""

    session_key: str
    organisation: str | None

    @property
    def key(self) -> tuple[str, str]:
        return ("session", f"{self.session_key}/{self.organisation}")

    def all_tenants_verify(self) -> Actor:
        session = SessionStore(self.session_key).load()
        user = _user_of_session(session)
        if user is None:
            raise Unauthenticated("The session has ended. Sign in again.")
        places = all_tenants_organisations_of(user)
        kept = str(session.get(_SESSION_ORG_KEY, ""))
        if self.organisation is not None:
            places = [place for place in places if place[0].slug == self.organisation]
        elif any(str(place[0].id) == kept for place in places):
            places = [place for place in places if str(place[0].id) == kept]
        if not places:
            raise Missing("There is no such organisation.")
        if len(places) > 1:
            raise OrganisationUnclear("Say which organisation: ?org=<name>.")
        organisation, role = places[0]
        return Actor(org_id=organisation.id, kind="user", role=role, user_id=user.pk)

    def headers_for_api(self, actor: Actor) -> dict[str, str]:
        return {HANDOVER_HEADER: sign_actor(actor)}


@dataclass(frozen=True, slots=True)
class TicketCredential:
    """A ticket that has been used up; what is left is who it was for."""

    actor: Actor

    @property
    def key(self) -> tuple[str, str]:
        return ("ticket", f"{self.actor.org_id}/{self.actor.key}")

    def all_tenants_verify(self) -> Actor:
        return all_tenants_refresh_actor(self.actor)

    def headers_for_api(self, actor: Actor) -> dict[str, str]:
        return {HANDOVER_HEADER: sign_actor(actor)}


EndReason = Literal["access_ended", "access_changed"]


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who was let in."""

    actor: Actor
    credential: Credential


@dataclass(frozen=True, slots=True)
class Arrival:
    """The parts of a request that say who it is from."""

    headers: Mapping[str, str]
    query: Mapping[str, list[str]]
    is_origin_required: bool

    @classmethod
    def of_scope(cls, scope: Mapping[str, Any]) -> Arrival:
        """Read an ASGI scope. Browsers send an Origin with every WebSocket and every request that is no plain GET."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        is_plain = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        return cls(headers, query, is_origin_required=not is_plain)

    def one(self, name: str) -> str | None:
        """Return a query parameter that may be given once. Raises: Invalid."""
        values = self.query.get(name, [])
        if len(values) > 1:
            raise Invalid("The parameter may be given once.", fields={name: "given more than once"})
        return values[0] if values else None


def all_tenants_admit(arrival: Arrival) -> Visitor:
    """Let somebody in. What is shown first counts: header, ticket, session; a wrong one is not passed over.

    Raises: Unauthenticated, TokenInvalid, OriginRefused, OrganisationUnclear, Missing, Invalid, Temporary.
    """
    if any(value.startswith(API_TOKEN_PREFIX) for values in arrival.query.values() for value in values):
        raise Invalid(
            "A token does not belong into an address, where logs keep it. Send a header, or a ticket."
        )
    header, ticket = arrival.headers.get("authorization"), arrival.one("ticket")
    if ticket is not None and header is None:
        actor = redeem_ticket(ticket[:_LONGEST_CREDENTIAL])
        return Visitor(actor, TicketCredential(actor))
    credential = _bearer(header) if header is not None else _session(arrival)
    return Visitor(credential.all_tenants_verify(), credential)


def all_tenants_why_end(visitor: Visitor) -> EndReason | None:
    """Say why the visitor may not stay: nobody would let them in again, or only with other rights; None if they may."""
    try:
        actor = visitor.credential.all_tenants_verify()
    except SlipwayError as error:
        if error.status >= 500:
            raise
        return "access_ended"
    if actor.org_id != visitor.actor.org_id:
        return "access_ended"
    return None if actor == visitor.actor else "access_changed"


def _bearer(header: str) -> Credential:
    kind, _, token = header.partition(" ")
    if kind.lower() != "bearer" or not token or len(token) > _LONGEST_CREDENTIAL:
        raise TokenInvalid("The token is unknown, expired or revoked.")
    return BearerCredential(token.strip())


def _session(arrival: Arrival) -> Credential:
    key = _cookie(arrival.headers.get("cookie", ""), settings.SESSION_COOKIE_NAME)
    if key is None:
        raise Unauthenticated("Send an API token, a ticket or a session.")
    origin, public = arrival.headers.get("origin"), urlsplit(environment().public_url)
    if origin is None and not arrival.is_origin_required:
        return SessionCredential(key, arrival.one("org"))
    if origin != f"{public.scheme}://{public.netloc}":
        raise OriginRefused("This page may not use the session.")
    return SessionCredential(key, arrival.one("org"))


def _cookie(header: str, name: str) -> str | None:
    try:
        morsel = SimpleCookie(header).get(name)
    except CookieError:
        return None
    return morsel.value if morsel is not None and morsel.value.isalnum() else None


def _user_of_session(session: Mapping[str, Any]) -> User | None:
    """Return the person whose session this is. Unlike Django's own look-up it never writes."""
    try:
        user_id = uuid.UUID(session[SESSION_KEY])
        shown, backend = session[HASH_SESSION_KEY], session[BACKEND_SESSION_KEY]
    except (KeyError, ValueError):
        return None
    user = User.objects.filter(pk=user_id, is_active=True).first()
    if user is None or backend not in settings.AUTHENTICATION_BACKENDS:
        return None
    return user if constant_time_compare(shown, user.get_session_auth_hash()) else None
