"""The base of every kind of account, and how its requests carry an OAuth token."""

from __future__ import annotations

import abc
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar
from urllib.parse import urlsplit

import httpx2

from services.adapters.upstreams.client import access_token
from services.adapters.upstreams.network import Network
from services.domain.errors import AccountUnauthorised, Conflict
from services.domain.ports.accounts import (
    AccountAccess,
    AccountCredentials,
    AccountManifest,
    AccountSettings,
    Installation,
)
from services.domain.ports.upstreams import AuthorizationPlan, OAuthGrant, TokenStore


class AccountKind(abc.ABC):
    """What a folder exposes as `KIND`. `endpoints` are the settings that replace its default base addresses."""

    manifest: ClassVar[AccountManifest]
    settings_model: ClassVar[type[AccountSettings]] = AccountSettings
    credentials_model: ClassVar[type[AccountCredentials]] = AccountCredentials
    endpoints: ClassVar[dict[str, str]] = {}

    def __init__(self, network: Network, installation: Installation) -> None:
        self.network = network
        self.installation = installation

    def base(self, setting: str) -> str:
        """Return the base address under a setting's name, without a slash at its end."""
        return (self.installation.endpoints.get(setting) or self.endpoints[setting]).rstrip("/")

    def hosts(self, settings: Any) -> tuple[str, ...]:
        """Return where an account's credentials go: the kind's first endpoint, for kinds at one provider."""
        return (urlsplit(self.base(next(iter(self.endpoints)))).hostname or "",)

    @abc.abstractmethod
    def open(self, access: AccountAccess) -> AbstractAsyncContextManager[Any]:
        """Give a protocol client of the account. Its calls raise the errors of accounts."""

    @abc.abstractmethod
    async def check(self, access: AccountAccess) -> str:
        """Ask the provider whose account this is. Raises: AccountUnauthorised, AccountAway, AccountRefused."""

    def plan(self, settings: Any, credentials: Any, redirect_uri: str) -> AuthorizationPlan:
        """Say where a person gives the authorization. Raises: Conflict when there is no such place, or no client."""
        raise Conflict("This kind of account is not connected by OAuth.")

    async def revoke(  # noqa: B027  # nothing to do is an answer, and the most frequent one
        self, access: AccountAccess, grant: OAuthGrant | None
    ) -> None:
        """End the access at the provider; most have no way to ask. Raises: AccountAway, AccountRefused."""


class BearerToken(httpx2.Auth):
    """Puts the account's access token on each request; one that is refused is refreshed, once."""

    def __init__(self, tokens: TokenStore | None, network: Network) -> None:
        self._tokens, self._network = tokens, network

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Send a request; once more with a fresh token when the first is not taken. Raises: AccountUnauthorised."""
        if self._tokens is None:
            raise AccountUnauthorised("The account is not connected.")
        token = await access_token(self._tokens, self._network, refused=None)
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == 401:
            token = await access_token(self._tokens, self._network, refused=token)
            request.headers["Authorization"] = f"Bearer {token}"
            response = yield request
        if response.status_code == 401:
            raise AccountUnauthorised("The provider does not take the access token.")
