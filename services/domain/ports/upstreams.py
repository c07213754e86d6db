"""What is said to and heard from MCP servers of others: where one is, what opens it, and how OAuth stands."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict


class OAuthClient(BaseModel):
    """What an authorization server knows us as. A public client has no secret."""

    model_config = ConfigDict(frozen=True)

    client_id: str
    client_secret: str | None = None
    auth_method: str = "none"


class OAuthServer(BaseModel):
    """The endpoints of an authorization server, and the resource that its tokens are to be good for (RFC 8707).

    Without a `resource` none is named: providers that do not know the parameter may refuse it.
    """

    model_config = ConfigDict(frozen=True)

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    resource: str
    scope: str = ""
    sends_issuer: bool = False


class AuthorizationPlan(BaseModel):
    """One authorization that a person is sent to give, with the verifier that only we know (RFC 7636)."""

    model_config = ConfigDict(frozen=True)

    server_url: str
    server: OAuthServer
    client: OAuthClient
    redirect_uri: str
    verifier: str


class GrantedTokens(BaseModel):
    """What a token endpoint gave. Units: `expires_in` in seconds."""

    model_config = ConfigDict(frozen=True)

    access_token: str
    refresh_token: str | None = None
    expires_in: int | None = None
    scope: str = ""


class OAuthGrant(BaseModel):
    """What is kept of an authorization. `expires_at` is a Unix time."""

    model_config = ConfigDict(frozen=True)

    server: OAuthServer
    client: OAuthClient
    access_token: str
    refresh_token: str | None = None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class RefreshClaim:
    """The right to refresh: whoever holds it, and nobody else, asks the token endpoint."""

    lease: uuid.UUID
    grant: OAuthGrant


class TokenStore(Protocol):
    """Where the access token of one server is kept, shared by all processes."""

    async def claim(self, refused: str | None) -> str | RefreshClaim | None:
        """Return a token that is good, the right to refresh it, or None while somebody else does.

        `refused` is a token that the server took for bad. Raises: UpstreamUnauthorised.
        """
        ...

    async def keep(self, lease: uuid.UUID, granted: GrantedTokens) -> None:
        """Keep new tokens."""
        ...

    async def give_back(self, lease: uuid.UUID) -> None:
        """Give the right back; the refresh did not come about."""
        ...

    async def lose(self, lease: uuid.UUID) -> None:
        """Forget the tokens: the authorization was revoked."""
        ...


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server, and what opens it: a header, or the tokens of a store, or nothing."""

    url: str
    header: tuple[str, str] | None = None
    tokens: TokenStore | None = None
