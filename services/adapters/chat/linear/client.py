"""Calls to Linear's GraphQL API, with a token of the app's that is made when it is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import httpx

from services.adapters.chat.calls import away, request
from services.adapters.chat.linear.config import LinearConfig
from services.adapters.chat.linear.failures import LABEL, UNAUTHENTICATED, code_of, failure_of
from services.adapters.chat.minted import MintedTokens
from services.domain.errors import PlatformAway, PlatformRefused

# What the app may do: as an agent it is mentioned, and issues are given to it.
SCOPES = "read,write,app:mentionable,app:assignable"
_API_KEY = "lin_api_"


_tokens = MintedTokens()


def ask(base_url: str, config: LinearConfig, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Make one query or mutation and return its `data`. Raises: PlatformThrottled, PlatformAway, PlatformRefused."""
    refused: str | None = None
    while True:
        token = _authorization(base_url, config, refused)
        answer = request(
            LABEL,
            "POST",
            f"{base_url}/graphql",
            headers={"Authorization": token},
            json={"query": query, "variables": dict(variables)},
        )
        is_final = config.access_token is not None or refused is not None
        # A token that was kept may have been revoked meanwhile.
        if code_of(answer) != UNAUTHENTICATED or is_final:
            break
        refused = token
    failure = failure_of(answer)
    if failure is not None:
        raise failure
    try:
        data: dict[str, Any] = answer.json()["data"]
    except (ValueError, KeyError, TypeError) as error:
        raise away(LABEL, may_have_arrived=True) from error
    return data


def _authorization(base_url: str, config: LinearConfig, refused: str | None) -> str:
    """Return what authorises a call. `refused` is what Linear did not take."""
    if config.access_token is not None:
        token = config.access_token.get_secret_value()
        return token if token.startswith(_API_KEY) else f"Bearer {token}"
    secret = config.client_secret.get_secret_value() if config.client_secret else ""
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return _tokens.get(
        f"{base_url} {config.client_id} {digest}",
        lambda: _make_token(base_url, config.client_id, secret),
        refused=refused,
    )


def _make_token(base_url: str, client_id: str, secret: str) -> tuple[str, float]:
    """Make a token of the app itself.

    Source: https://linear.app/developers/oauth-2-0-authentication#client-credentials-tokens
    """
    try:
        answer = request(
            LABEL,
            "POST",
            f"{base_url}/oauth/token",
            data={
                "grant_type": "client_credentials",
                "scope": SCOPES,
                "client_id": client_id,
                "client_secret": secret,
            },
        )
        if answer.status_code >= 500:
            raise away(LABEL, may_have_arrived=False)
    except PlatformAway as error:
        # What the token was for was not sent at all.
        raise away(LABEL, may_have_arrived=False) from error
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise failure_of(answer) or away(LABEL, may_have_arrived=False)
    try:
        made = answer.json()
        token, life_s = str(made["access_token"]), float(made["expires_in"])
    except (ValueError, KeyError, TypeError) as error:
        raise PlatformRefused(
            "Linear gives the app no token: its ID or secret is wrong, or its client credentials are switched off."
        ) from error
    return f"Bearer {token}", life_s
