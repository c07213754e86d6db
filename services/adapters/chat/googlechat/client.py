"""Calls to the Chat API, each with an access token of the app's service account.

Source: https://developers.google.com/identity/protocols/oauth2/service-account#httprest
"""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import quote

import httpx
import jwt

from services.adapters.chat.calls import download, read_json, request
from services.adapters.chat.googlechat.config import GoogleChatConfig
from services.adapters.chat.googlechat.failures import LABEL, translate, translate_token
from services.adapters.chat.minted import MintedTokens
from services.domain.errors import PlatformAway, PlatformRefused

SCOPE = "https://www.googleapis.com/auth/chat.bot"
# What Google wants to read in the assertion, wherever that is sent.
TOKEN_AUDIENCE = "https://oauth2.googleapis.com/token"  # noqa: S105  # an address
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFE_S = 3_600
_RESOURCE = re.compile(r"[A-Za-z0-9+/=_.-]{1,1000}")


class GoogleChatClient:
    """The Chat API at `base_url`, with tokens from `token_base`."""

    def __init__(self, base_url: str, token_base: str) -> None:
        self._base = base_url.rstrip("/")
        self._token_base = token_base.rstrip("/")
        self._tokens = MintedTokens()

    def call(
        self,
        config: GoogleChatConfig,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Make one call below `/v1/`. A token that is not taken is replaced once: nothing was done with it.

        Raises: PlatformThrottled, PlatformAway, PlatformRefused.
        """
        token = self.token(config)
        answer = self._send(method, path, token, params, body)
        if answer.status_code == 401:
            answer = self._send(method, path, self.token(config, refused=token), params, body)
        if not answer.is_success:
            raise translate(answer)
        return read_json(answer)

    def download(self, config: GoogleChatConfig, resource: str, max_bytes: int) -> bytes:
        """Return what was uploaded to a chat. Raises also: FileTooLarge."""
        if not _RESOURCE.fullmatch(resource) or ".." in resource:
            raise PlatformRefused("This is no upload of Google Chat's.")
        address = f"{self._base}/v1/media/{quote(resource, safe='/')}?alt=media"
        headers = {"Authorization": f"Bearer {self.token(config)}"}
        return download(LABEL, address, max_bytes=max_bytes, translate=translate, headers=headers)

    def token(self, config: GoogleChatConfig, *, refused: str | None = None) -> str:
        """Return the account's token. Raises: PlatformThrottled, PlatformAway, PlatformRefused."""
        return self._tokens.get(config.token_key, lambda: self._mint(config), refused=refused)

    def _send(
        self, method: str, path: str, token: str, params: dict[str, str] | None, body: dict[str, Any] | None
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return request(LABEL, method, f"{self._base}/v1/{path}", params=params, json=body, headers=headers)

    def _mint(self, config: GoogleChatConfig) -> tuple[str, float]:
        form = {"grant_type": _GRANT, "assertion": _assertion(config)}
        try:
            answer = request("Google's sign-in", "POST", f"{self._token_base}/token", data=form)
        except PlatformAway as error:
            # Whatever became of this, no message was sent.
            raise PlatformAway(
                error.message, retry_after_s=error.retry_after_s, may_have_arrived=False
            ) from error
        given = read_json(answer)
        token, life_s = given.get("access_token"), given.get("expires_in")
        if answer.status_code != 200 or not isinstance(token, str) or not isinstance(life_s, int):
            raise translate_token(answer)
        return token, float(life_s)


def _assertion(config: GoogleChatConfig) -> str:
    key, moment = config.key, int(time.time())
    claims = {
        "iss": key["client_email"],
        "scope": SCOPE,
        "aud": TOKEN_AUDIENCE,
        "iat": moment,
        "exp": moment + _LIFE_S,
    }
    try:
        return jwt.encode(
            claims, key["private_key"], algorithm="RS256", headers={"kid": key["private_key_id"]}
        )
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise PlatformRefused("The service account's private key is not usable.") from error
