"""The endpoints that programs call: what there is, registering, tokens, giving tokens back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from pydantic import ValidationError

from services.api.http.bodies import read_raw
from services.api.oauth.device import DEVICE_GRANT, DEVICE_PATH, trade_device_code
from services.api.oauth.requests import (
    MAX_BODY_BYTES,
    address_of,
    count_request,
    credentials,
    endpoint,
    form,
)
from services.domain.errors import OAuthRefused
from services.domain.oauth.clients import (
    ClientMetadata,
    all_tenants_authenticate_client,
    all_tenants_register_client,
)
from services.domain.oauth.grants import (
    CodeTrade,
    Issued,
    all_tenants_refresh,
    all_tenants_revoke_token,
    all_tenants_trade_code,
)
from services.domain.oauth.models import AuthMethod, OAuthClient
from services.domain.oauth.resources import issuer
from services.domain.oauth.servers import PEOPLE_SERVERS, scopes_of

AUTHORIZE_PATH, TOKEN_PATH = "/oauth/authorize", "/oauth/token"
REGISTER_PATH, REVOKE_PATH = "/oauth/register", "/oauth/revoke"
MAX_REGISTRATIONS = 60
MAX_REFUSALS = 600


@endpoint("GET")
def metadata(request: HttpRequest) -> HttpResponse:
    """Say what this authorization server can do. Source: RFC 8414, section 2."""
    base = issuer()
    methods = [method.value for method in AuthMethod]
    return JsonResponse(
        {
            "issuer": base,
            "authorization_endpoint": f"{base}{AUTHORIZE_PATH}",
            "token_endpoint": f"{base}{TOKEN_PATH}",
            "registration_endpoint": f"{base}{REGISTER_PATH}",
            "revocation_endpoint": f"{base}{REVOKE_PATH}",
            "device_authorization_endpoint": f"{base}{DEVICE_PATH}",
            "scopes_supported": scopes_of(PEOPLE_SERVERS.values()),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token", DEVICE_GRANT],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": methods,
            "revocation_endpoint_auth_methods_supported": methods,
            "authorization_response_iss_parameter_supported": True,
            "client_id_metadata_document_supported": True,
        }
    )


@endpoint("POST")
def register(request: HttpRequest) -> HttpResponse:
    """Register a client that describes itself. Source: RFC 7591, section 3."""
    count_request("register", address_of(request), most=MAX_REGISTRATIONS)
    try:
        given = ClientMetadata.model_validate_json(read_raw(request, max_bytes=MAX_BODY_BYTES))
    except ValidationError as error:
        is_redirect = any("redirect_uris" in found["loc"] for found in error.errors(include_input=False))
        word = "invalid_redirect_uri" if is_redirect else "invalid_client_metadata"
        raise OAuthRefused(word, "The description of the client cannot be used.") from error
    client, secret = all_tenants_register_client(given)
    return JsonResponse(_registration(client, secret), status=201)


def _registration(client: OAuthClient, secret: str | None) -> dict[str, Any]:
    described: dict[str, Any] = {
        "client_id": client.client_id,
        "client_id_issued_at": int(client.created_at.timestamp()),
        "client_name": client.name,
        "redirect_uris": client.redirect_uris,
        "token_endpoint_auth_method": client.auth_method,
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
    }
    return (
        described if secret is None else described | {"client_secret": secret, "client_secret_expires_at": 0}
    )


@endpoint("POST")
def token(request: HttpRequest) -> HttpResponse:
    """Trade a code or a refresh token for tokens. Source: OAuth 2.1, section 3.2."""
    given = form(request)
    if given.get("grant_type") == DEVICE_GRANT:
        return trade_device_code(given)
    shown = credentials(request, given)
    try:
        return _tokens(_trade(all_tenants_authenticate_client(shown), given))
    except OAuthRefused:
        # Only what fails is counted: behind a proxy everybody comes from one address.
        count_request("token", f"{address_of(request)}|{shown.client_id}", most=MAX_REFUSALS)
        raise


def _trade(client: OAuthClient, given: Mapping[str, str]) -> Issued:
    match given.get("grant_type"):
        case "authorization_code":
            if not given.get("resource"):
                raise OAuthRefused("invalid_target", "The resource must be named.")
            names = ("code", "code_verifier", "redirect_uri", "resource")
            return all_tenants_trade_code(client, CodeTrade(*(given.get(name, "") for name in names)))
        case "refresh_token":
            return all_tenants_refresh(
                client,
                given.get("refresh_token", ""),
                resource=given.get("resource", ""),
                scope=given.get("scope", ""),
            )
        case _:
            raise OAuthRefused("unsupported_grant_type", "Only codes and refresh tokens are traded.")


def _tokens(issued: Issued) -> HttpResponse:
    return JsonResponse(
        {
            "access_token": issued.access_token,
            "token_type": "Bearer",
            "expires_in": issued.expires_in,
            "refresh_token": issued.refresh_token,
            "scope": " ".join(issued.scopes),
        }
    )


@endpoint("POST")
def revoke(request: HttpRequest) -> HttpResponse:
    """End a token, and the family that it belongs to. Source: RFC 7009, section 2."""
    given = form(request)
    client = all_tenants_authenticate_client(credentials(request, given))
    all_tenants_revoke_token(client, given.get("token", ""))
    return HttpResponse(status=200)
