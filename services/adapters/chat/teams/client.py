"""Calls to the connector, each with the app's access token.

Source: https://learn.microsoft.com/azure/bot-service/rest-api/bot-framework-rest-connector-authentication
"""

from __future__ import annotations

from typing import Any

import httpx

from services.adapters.chat.calls import download, read_json, request
from services.adapters.chat.minted import MintedTokens
from services.adapters.chat.teams.config import TeamsConfig
from services.adapters.chat.teams.failures import LABEL, translate, translate_login
from services.domain.errors import PlatformAway

_SCOPE = "https://api.botframework.com/.default"


class TeamsClient:
    """The connector at `base_url`, with tokens from `login_base`."""

    def __init__(self, base_url: str, login_base: str) -> None:
        self.base_url = base_url.rstrip("/")
        self._login_base = login_base.rstrip("/")
        self._tokens = MintedTokens()

    def call(
        self, config: TeamsConfig, method: str, url: str, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Make one call. A token that is not taken is replaced once: nothing was done with it.

        Raises: PlatformThrottled, PlatformAway, PlatformRefused.
        """
        token = self.token(config)
        answer = _send(method, url, token, body)
        if answer.status_code == 401:
            answer = _send(method, url, self.token(config, refused=token), body)
        if not answer.is_success:
            raise translate(answer)
        return read_json(answer)

    def token(self, config: TeamsConfig, *, refused: str | None = None) -> str:
        """Return the app's token. Raises: PlatformThrottled, PlatformAway, PlatformRefused."""
        return self._tokens.get(config.token_key, lambda: self._mint(config), refused=refused)

    def download(self, config: TeamsConfig, url: str, max_bytes: int) -> bytes:
        """Return a file that the connector keeps. Raises also: FileTooLarge."""
        headers = {"Authorization": f"Bearer {self.token(config)}"}
        return download(LABEL, url, max_bytes=max_bytes, translate=translate, headers=headers)

    def _mint(self, config: TeamsConfig) -> tuple[str, float]:
        try:
            answer = request(
                "Microsoft's sign-in",
                "POST",
                f"{self._login_base}/{config.tenant_id}/oauth2/v2.0/token",
                data={
                    "grant_type": "client_credentials",
                    "client_id": config.app_id,
                    "client_secret": config.client_secret.get_secret_value(),
                    "scope": _SCOPE,
                },
            )
        except PlatformAway as error:
            # Whatever became of this, no message was sent.
            raise PlatformAway(
                error.message, retry_after_s=error.retry_after_s, may_have_arrived=False
            ) from error
        if answer.status_code != 200:
            raise translate_login(answer)
        given = read_json(answer)
        token, life_s = given.get("access_token"), given.get("expires_in")
        if not isinstance(token, str) or not isinstance(life_s, int):
            raise translate_login(answer)
        return token, float(life_s)


def _send(method: str, url: str, token: str, body: dict[str, Any] | None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return request(LABEL, method, url, json=body, headers=headers)
