"""Calls to Webex's REST API, each with the bot's token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from services.adapters.chat.calls import download, read_json, request
from services.adapters.chat.webex.config import WebexConfig
from services.adapters.chat.webex.failures import LABEL, translate
from services.domain.errors import PlatformRefused


class WebexClient:
    """The API below `/v1` at `base_url`. Raises: PlatformThrottled, PlatformAway, PlatformRefused."""

    def __init__(self, base_url: str) -> None:
        self._base = f"{base_url.rstrip('/')}/v1"

    def get(self, config: WebexConfig, path: str, params: dict[str, str] | None = None) -> dict[str, Any]:
        """Ask for an object."""
        return self.call(config, "GET", path, params=params)

    def call(self, config: WebexConfig, method: str, path: str, **fields: Any) -> dict[str, Any]:
        """Make one call; `fields` are httpx's."""
        answer = request(LABEL, method, f"{self._base}/{path}", headers=_headers(config), **fields)
        return read_json(_checked(answer))

    def head_file(self, config: WebexConfig, url: str) -> Mapping[str, str]:
        """Ask what a file is. Raises: PlatformRefused also for an address that is not Webex's."""
        answer = request(LABEL, "HEAD", self._checked_file(url), headers=_headers(config))
        return _checked(answer).headers

    def download(self, config: WebexConfig, url: str, max_bytes: int) -> bytes:
        """Return a file's bytes. Raises also: FileTooLarge."""
        address = self._checked_file(url)
        return download(LABEL, address, max_bytes=max_bytes, translate=translate, headers=_headers(config))

    def _checked_file(self, url: str) -> str:
        """Refuse an address that the token must not go to."""
        if not url.startswith(f"{self._base}/contents/"):
            raise PlatformRefused("The file is at an address that is not Webex's.")
        return url


def _checked(answer: httpx.Response) -> httpx.Response:
    if not answer.is_success:
        raise translate(answer)
    return answer


def _headers(config: WebexConfig) -> dict[str, str]:
    return {"Authorization": f"Bearer {config.bot_token.get_secret_value()}"}
