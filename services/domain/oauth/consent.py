"""A client's wish, checked, and what a person makes of it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from services.domain.actors import Actor
from services.domain.agents.queries import list_agents
from services.domain.audit.models import AuditAction
from services.domain.audit.recording import Subject, record_audit
from services.domain.errors import AgentMissing, Invalid, NotPermitted, OAuthRefused, QueueFull
from services.domain.identity.models import Membership
from services.domain.oauth.models import AuthorizationCode, ConnectedApp, OAuthClient
from services.domain.oauth.redirects import host_of
from services.domain.oauth.resources import Resource, find_resource, resource_url
from services.domain.oauth.servers import (
    EVERYTHING,
    EVERYTHING_TO_READ,
    PEOPLE_SERVERS,
    Reach,
    narrowed,
    reach_asked,
    reach_of,
    scopes_of,
)
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.tokens import AUTHORIZATION_CODE_PREFIX, hash_token, make_token

CODE_LIFE = timedelta(seconds=60)
MAX_APPS = 100
MAX_STATE_CHARS = 2_000
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
# Asked for by clients of many servers; a refresh token comes with every authorization here.
_WITHOUT_MEANING = frozenset({"offline_access"})


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asks a person for. `reach` is the most that it may get, by server."""

    client: OAuthClient
    redirect_uri: str
    challenge: str
    resource: Resource
    reach: Mapping[str, Reach]


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person allows: how far into which servers, and the agent whose namespace is meant, if one is needed."""

    reach: Mapping[str, Reach]
    agent_id: uuid.UUID | None = None


def read_wish(actor: Actor, client: OAuthClient, redirect_uri: str, given: Mapping[str, str]) -> Wish:
    """Check all of a request to a person but the client and the redirect address, which must be known to be good.

    Raises: OAuthRefused, to be told to the client. Source: OAuth 2.1, section 4.1.1; RFC 8707, section 2.
    """
    if given.get("response_type") != "code":
        raise OAuthRefused("unsupported_response_type", "Only the response type `code` is served.")
    challenge = given.get("code_challenge", "")
    if given.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
        raise OAuthRefused("invalid_request", "A PKCE challenge by S256 is needed.")
    if len(given.get("state", "")) > MAX_STATE_CHARS:
        raise OAuthRefused("invalid_request", "The state is too long.")
    resource = find_resource(actor, given.get("resource", ""))
    if resource is None:
        raise OAuthRefused(
            "invalid_target",
            "The resource must name an MCP server of this installation, and one that you may use.",
        )
    reach = _asked_reach(resource, given.get("scope", ""))
    return Wish(client, redirect_uri, challenge, resource, reach)


def _asked_reach(resource: Resource, scope: str) -> Mapping[str, Reach]:
    """Return how far a client wants to reach; without a word about it, into all that the resource has."""
    asked = {word for word in scope.split() if word not in _WITHOUT_MEANING}
    known = {EVERYTHING, EVERYTHING_TO_READ, *scopes_of(resource.servers.values())}
    if resource.url == resource_url(None):
        # Clients ask for all that the metadata names, and that cannot know who has which accounts.
        known.update(scopes_of(PEOPLE_SERVERS.values()))
    reach = reach_asked(asked, resource.servers)
    if not asked <= known or not reach:
        raise OAuthRefused("invalid_scope", "The resource has no such scope.")
    return reach


def allow(actor: Actor, wish: Wish, choice: Choice) -> str:
    """Keep what a person allows a client, and return the code that the client gets.

    Raises: NotPermitted, Invalid without any server, AgentMissing, QueueFull.
    """
    if actor.kind != "user" or actor.user_id is None:
        raise NotPermitted("Only a person can allow this.")
    scopes = narrowed(wish.reach, choice.reach)
    if not scopes:
        raise Invalid("Choose at least one server.", fields={"servers": "none is chosen"})
    needs_agent = any(wish.resource.servers[name].in_namespace for name in reach_of(scopes))
    code, moment = make_token(AUTHORIZATION_CODE_PREFIX), now()
    with tenant_transaction(actor.org_id):
        agent_id = _namespace(actor, choice.agent_id) if needs_agent else None
        membership = Membership.objects.select_for_update().get(user_id=actor.user_id)
        mine = ConnectedApp.objects.filter(user_id=actor.user_id, revoked_at=None)
        if mine.count() >= MAX_APPS:
            raise QueueFull(f"There are {MAX_APPS} connected apps. Disconnect some first.", limit=MAX_APPS)
        app = ConnectedApp.objects.create(
            org_id=actor.org_id,
            membership=membership,
            user_id=actor.user_id,
            client_id=wish.client.id,
            client_name=wish.client.name,
            client_host=host_of(wish.redirect_uri)[:255],
            resource=wish.resource.url,
            scopes=scopes,
            agent_id=agent_id,
        )
        AuthorizationCode.objects.create(
            org_id=actor.org_id,
            app=app,
            code_hash=hash_token(code),
            challenge=wish.challenge,
            redirect_uri=wish.redirect_uri,
            expires_at=moment + CODE_LIFE,
        )
        subject = Subject("app", app.id, app.client_name, actor.user_id)
        record_audit(actor, AuditAction.APP_CONNECTED, subject, scopes=list(scopes), resource=app.resource)
    return code


def _namespace(actor: Actor, agent_id: uuid.UUID | None) -> uuid.UUID:
    if agent_id is None:
        raise Invalid("Choose the agent whose notes are meant.", fields={"agent": "needed"})
    if not list_agents(actor).filter(id=agent_id).exists():
        raise AgentMissing("There is no such agent.")
    return agent_id
