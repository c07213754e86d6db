"""OAuth 2.1 as MCP has it: discovery, registration, PKCE, resource indicators, refresh.

Source: the MCP specification, authorization; RFC 7591, 7636, 8414, 8707, 9207, 9728.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import secrets
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx2
from mcp.client.auth.utils import (
    build_oauth_authorization_server_metadata_discovery_urls,
    build_protected_resource_metadata_discovery_urls,
    extract_resource_metadata_from_www_auth,
    extract_scope_from_www_auth,
    get_client_metadata_scopes,
    issuers_match,
)
from mcp.shared.auth import (
    OAuthClientInformationFull,
    OAuthMetadata,
    OAuthToken,
    ProtectedResourceMetadata,
)
from mcp.shared.auth_utils import check_resource_allowed, resource_url_from_server_url
from pydantic import ValidationError

from services.adapters.upstreams.network import Network
from services.domain.errors import UpstreamAway, UpstreamRefused, UpstreamUnauthorised
from services.domain.ports.upstreams import (
    AuthorizationPlan,
    GrantedTokens,
    OAuthClient,
    OAuthGrant,
    OAuthServer,
)

ANSWER_S = 10.0
WHOLE_S = 30.0
CLIENT_NAME = "Slipway"
_GRANTS = ["authorization_code", "refresh_token"]
_AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post")
# These say that no later try will be answered otherwise (RFC 6749, section 5.2).
_LOST = frozenset({"invalid_grant", "invalid_client", "unauthorized_client"})
_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")
_MAX_LIFE_S = 10 * 365 * 86_400


class AuthorizationLost(UpstreamUnauthorised):
    """The authorization server will not give another token for this authorization."""


async def plan_authorization(
    url: str, redirect_uri: str, client_id: str, client_secret: str | None, network: Network
) -> AuthorizationPlan:
    """Find out who authorizes for a server, and become a client there. Raises: UpstreamRefused, UpstreamAway."""
    try:
        async with asyncio.timeout(WHOLE_S), network.client(read_s=ANSWER_S) as http:
            server, metadata = await _discover(url, http)
            if client_id:
                client = _known_client(client_id, client_secret, metadata)
            else:
                client = await _register(metadata, redirect_uri, server.scope, http)
    except TimeoutError as error:
        raise UpstreamAway("The authorization server does not answer in time.") from error
    page = urlsplit(server.authorization_endpoint)
    if page.scheme != "https" and page.hostname not in network.internal_hosts:
        raise UpstreamRefused("The authorization server's page is without https.")
    return AuthorizationPlan(
        server_url=url,
        server=server,
        client=client,
        redirect_uri=redirect_uri,
        verifier=secrets.token_urlsafe(64),
    )


def authorization_url(plan: AuthorizationPlan, state: str) -> str:
    """Return the page at which a person gives the authorization."""
    digest = hashlib.sha256(plan.verifier.encode()).digest()
    query = {
        "response_type": "code",
        "client_id": plan.client.client_id,
        "redirect_uri": plan.redirect_uri,
        "state": state,
        "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
        "code_challenge_method": "S256",
    }
    if plan.server.resource:
        query["resource"] = plan.server.resource
    if plan.server.scope:
        query["scope"] = plan.server.scope
    joint = "&" if urlsplit(plan.server.authorization_endpoint).query else "?"
    return f"{plan.server.authorization_endpoint}{joint}{urlencode(query)}"


async def exchange_code(
    plan: AuthorizationPlan, code: str, issuer: str | None, network: Network
) -> GrantedTokens:
    """Turn what a person came back with into tokens. Raises: UpstreamRefused, UpstreamAway, AuthorizationLost."""
    if issuer != plan.server.issuer and (issuer is not None or plan.server.sends_issuer):
        raise UpstreamRefused(
            "The answer comes from another authorization server than the one that was asked."
        )
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": plan.redirect_uri,
        "code_verifier": plan.verifier,
    }
    return await _ask_for_tokens(plan.server, plan.client, form, network)


async def refresh(grant: OAuthGrant, network: Network) -> GrantedTokens:
    """Get another access token. Raises: AuthorizationLost, UpstreamAway, UpstreamRefused."""
    form = {"grant_type": "refresh_token", "refresh_token": grant.refresh_token or ""}
    return await _ask_for_tokens(grant.server, grant.client, form, network)


async def _discover(url: str, http: httpx2.AsyncClient) -> tuple[OAuthServer, OAuthMetadata]:
    asked = await http.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "ping"}, headers=_ACCEPT)
    wanted_scope = extract_scope_from_www_auth(asked)
    resource = await _find_resource(url, extract_resource_metadata_from_www_auth(asked), http)
    if resource is not None and not check_resource_allowed(url, str(resource.resource)):
        raise UpstreamRefused("The server's metadata is about another resource.")
    metadata = await _find_metadata(url, str(resource.authorization_servers[0]) if resource else None, http)
    if "S256" not in (metadata.code_challenge_methods_supported or ()):
        raise UpstreamRefused("The authorization server does not offer PKCE with S256.")
    server = OAuthServer(
        issuer=str(metadata.issuer),
        authorization_endpoint=str(metadata.authorization_endpoint),
        token_endpoint=str(metadata.token_endpoint),
        resource=str(resource.resource) if resource else resource_url_from_server_url(url),
        scope=get_client_metadata_scopes(wanted_scope, resource, metadata, _GRANTS) or "",
        sends_issuer=bool(metadata.authorization_response_iss_parameter_supported),
    )
    return server, metadata


_ACCEPT = {"Accept": "application/json, text/event-stream"}


async def _find_resource(
    url: str, named: str | None, http: httpx2.AsyncClient
) -> ProtectedResourceMetadata | None:
    for place in build_protected_resource_metadata_discovery_urls(named, url):
        answer = await http.get(place)
        if answer.status_code == 200:
            try:
                return ProtectedResourceMetadata.model_validate_json(answer.content)
            except ValidationError:
                continue
    return None


async def _find_metadata(url: str, issuer: str | None, http: httpx2.AsyncClient) -> OAuthMetadata:
    for place in build_oauth_authorization_server_metadata_discovery_urls(issuer, url):
        answer = await http.get(place)
        if answer.status_code == 200:
            try:
                metadata = OAuthMetadata.model_validate_json(answer.content)
            except ValidationError:
                continue
            if issuer is not None and not issuers_match(str(metadata.issuer), issuer):
                raise UpstreamRefused("The authorization server says that it is another one.")
            return metadata
    raise UpstreamRefused("The server does not say who authorizes for it.")


def _known_client(client_id: str, client_secret: str | None, metadata: OAuthMetadata) -> OAuthClient:
    if client_secret is None:
        return OAuthClient(client_id=client_id)
    offered = metadata.token_endpoint_auth_methods_supported or ["client_secret_basic"]
    is_basic = "client_secret_basic" in offered
    return OAuthClient(
        client_id=client_id,
        client_secret=client_secret,
        auth_method="client_secret_basic" if is_basic else "client_secret_post",
    )


async def _register(
    metadata: OAuthMetadata, redirect_uri: str, scope: str, http: httpx2.AsyncClient
) -> OAuthClient:
    if metadata.registration_endpoint is None:
        raise UpstreamRefused("The authorization server registers no clients by itself: give a client_id.")
    asked: dict[str, Any] = {
        "client_name": CLIENT_NAME,
        "redirect_uris": [redirect_uri],
        "grant_types": _GRANTS,
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "web",
    }
    if scope:
        asked["scope"] = scope
    answer = await http.post(str(metadata.registration_endpoint), json=asked)
    if answer.status_code not in (200, 201):
        raise UpstreamRefused("The authorization server does not register us as a client.")
    try:
        made = OAuthClientInformationFull.model_validate_json(answer.content)
    except ValidationError as error:
        raise UpstreamRefused("The authorization server's registration is not usable.") from error
    method = made.token_endpoint_auth_method or ("client_secret_basic" if made.client_secret else "none")
    if method not in _AUTH_METHODS or (method != "none" and made.client_secret is None):
        raise UpstreamRefused("The authorization server wants a way to show who we are that we do not have.")
    return OAuthClient(client_id=made.client_id, client_secret=made.client_secret, auth_method=method)


async def _ask_for_tokens(
    server: OAuthServer, client: OAuthClient, form: dict[str, str], network: Network
) -> GrantedTokens:
    headers = {"Accept": "application/json"}
    if server.resource:
        form = form | {"resource": server.resource}
    if client.auth_method == "client_secret_basic":
        # Both are form-encoded first (RFC 6749, section 2.3.1).
        pair = f"{quote(client.client_id, safe='')}:{quote(client.client_secret or '', safe='')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    else:
        form = form | {"client_id": client.client_id}
        if client.auth_method == "client_secret_post":
            form = form | {"client_secret": client.client_secret or ""}
    try:
        async with asyncio.timeout(WHOLE_S), network.client(read_s=ANSWER_S) as http:
            answer = await http.post(server.token_endpoint, data=form, headers=headers)
    except TimeoutError as error:
        raise UpstreamAway("The authorization server does not answer in time.") from error
    return _read_tokens(answer)


def _read_tokens(answer: httpx2.Response) -> GrantedTokens:
    if answer.status_code >= 500 or answer.status_code == 429:
        raise UpstreamAway("The authorization server cannot answer now.")
    if answer.status_code != 200:
        if _error_of(answer) in _LOST:
            raise AuthorizationLost("The authorization has ended or was revoked.")
        raise UpstreamRefused("The authorization server gives no token.")
    try:
        token = OAuthToken.model_validate_json(answer.content)
    except ValidationError as error:
        raise UpstreamRefused("The authorization server's answer is no token.") from error
    if not _TOKEN.fullmatch(token.access_token):
        raise UpstreamRefused("The authorization server's token is not usable.")
    life = None if token.expires_in is None else min(max(token.expires_in, 0), _MAX_LIFE_S)
    return GrantedTokens(
        access_token=token.access_token,
        refresh_token=token.refresh_token or None,
        expires_in=life,
        scope=token.scope or "",
    )


def _error_of(answer: httpx2.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        return ""
    return str(body.get("error", "")) if isinstance(body, dict) else ""
