"""A program of a person's: it asks for an authorization step by step, so that a test can do any step wrong."""

from __future__ import annotations

import base64
import hashlib
import uuid
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from django.test import Client
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

from services.domain.actors import Actor
from services.domain.oauth.clients import ClientMetadata, all_tenants_register_client
from services.domain.oauth.consent import Choice, allow, read_wish
from services.domain.oauth.grants import CodeTrade, Issued, all_tenants_trade_code
from services.domain.oauth.models import ConnectedApp, OAuthClient
from services.domain.oauth.resources import resource_url
from services.domain.oauth.servers import Reach
from services.domain.tenancy.transaction import tenant_transaction

VERIFIER = "a-verifier-of-at-least-forty-three-characters-0123456789"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
CALLBACK = "http://127.0.0.1:4711/callback"


def register(name: str = "Editor", **fields: Any) -> OAuthClient:
    """Register a public client."""
    given = {
        "client_name": name,
        "redirect_uris": [CALLBACK],
        "token_endpoint_auth_method": "none",
        **fields,
    }
    return all_tenants_register_client(ClientMetadata.model_validate(given))[0]


def wish_of(client: OAuthClient, **changes: str | None) -> dict[str, str]:
    """Return the parameters by which a client asks for the platform's server, with some changed or left out."""
    given: dict[str, str | None] = {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": CALLBACK,
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "resource": resource_url("platform"),
        "state": "a-state",
        **changes,
    }
    return {name: value for name, value in given.items() if value is not None}


def page_of(given: dict[str, str]) -> str:
    """Return the path of the page at which the person is asked."""
    return f"/oauth/authorize?{urlencode(given)}"


def answer_in(location: str) -> dict[str, str]:
    """Return what an address that leads back to the client carries."""
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def trade(client: OAuthClient, code: str, **changes: str | None) -> Any:
    """Trade a code at the token endpoint."""
    fields = {
        "grant_type": "authorization_code",
        "client_id": client.client_id,
        "code": code,
        "code_verifier": VERIFIER,
        "redirect_uri": CALLBACK,
        "resource": resource_url("platform"),
        **changes,
    }
    return post_form("/oauth/token", fields)


def refresh(client: OAuthClient, token: str, **changes: str | None) -> Any:
    """Trade a refresh token at the token endpoint."""
    fields = {
        "grant_type": "refresh_token",
        "client_id": client.client_id,
        "refresh_token": token,
        **changes,
    }
    return post_form("/oauth/token", fields)


def post_form(path: str, fields: dict[str, str | None], **headers: str) -> Any:
    """Send a form as programs do: no cookie, no page before it."""
    body = urlencode({name: value for name, value in fields.items() if value is not None})
    return Client(enforce_csrf_checks=True).generic(
        "POST", path, body.encode(), content_type="application/x-www-form-urlencoded", headers=headers
    )


def authorized(
    actor: Actor,
    server: str | None = "platform",
    reach: Reach = "write",
    agent_id: uuid.UUID | None = None,
    client: OAuthClient | None = None,
) -> tuple[OAuthClient, Issued]:
    """Let a person allow a client a server, or all of them, by the actions; returns the client and its tokens."""
    client = client or register()
    given = wish_of(client, resource=resource_url(server))
    wish = read_wish(actor, client, CALLBACK, given)
    code = allow(actor, wish, Choice(dict.fromkeys(wish.reach, reach), agent_id))
    return client, all_tenants_trade_code(client, CodeTrade(code, VERIFIER, CALLBACK, given["resource"]))


def connect(actor: Actor, server: str = "platform") -> ConnectedApp:
    """Let a person connect a program, and return the row."""
    client, _ = authorized(actor, server)
    with tenant_transaction(actor.org_id):
        return ConnectedApp.objects.get(client_id=client.id)


class Kept:
    """What a program made with the real client library keeps between its calls."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info
