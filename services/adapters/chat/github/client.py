"""Calls to GitHub's REST API, as the app or as its installation in one repository."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from services.adapters.chat.calls import away, request
from services.adapters.chat.github.config import GithubConfig
from services.adapters.chat.github.failures import LABEL, translate
from services.adapters.chat.minted import MintedTokens
from services.adapters.github_app import (
    VERSION_HEADERS,
    read_token,
    sign_app_token,
    token_path,
    token_request,
)
from services.domain.errors import PlatformAway, PlatformRefused

PERMISSIONS = {"issues": "write", "pull_requests": "write"}
_AGENT = {"User-Agent": "slipway"}


_tokens = MintedTokens()


def ask_app(
    base_url: str, config: GithubConfig, path: str, params: Mapping[str, Any] | None = None
) -> httpx.Response:
    """Ask as the app itself. Raises: PlatformThrottled, PlatformAway, PlatformRefused."""
    answer = request(LABEL, "GET", f"{base_url}{path}", headers=_app_headers(config), params=params)
    if not answer.is_success:
        raise translate(answer)
    return answer


def ask(
    base_url: str,
    config: GithubConfig,
    repository: str,
    method: str,
    path: str,
    *,
    json: Any = None,
    params: Mapping[str, Any] | None = None,
) -> Any:
    """Ask about one repository; `path` is below it. Returns the answer's JSON, None for an empty one.

    Raises: PlatformThrottled, PlatformAway, PlatformRefused.
    """
    url = f"{base_url}/repos/{quote(repository)}{path}"
    refused: str | None = None
    while True:
        token = _tokens.get(
            _key_of(base_url, config, repository),
            lambda: _mint(base_url, config, repository),
            refused=refused,
        )
        headers = {**VERSION_HEADERS, **_AGENT, "Authorization": f"Bearer {token}"}
        answer = request(LABEL, method, url, headers=headers, params=params, json=json)
        # A token that was kept may have been revoked meanwhile.
        if answer.status_code != httpx.codes.UNAUTHORIZED or refused is not None:
            break
        refused = token
    if not answer.is_success:
        raise translate(answer)
    return read_json(answer) if answer.content else None


def read_json(answer: httpx.Response) -> Any:
    """Return the JSON of an answer. Raises: PlatformAway for one that has none."""
    try:
        return answer.json()
    except ValueError as error:
        raise away(LABEL, may_have_arrived=True) from error


def _app_headers(config: GithubConfig) -> dict[str, str]:
    try:
        shown = sign_app_token(config.app_id, config.private_key)
    except ValueError as error:
        raise PlatformRefused(str(error)) from error
    return {**VERSION_HEADERS, **_AGENT, "Authorization": f"Bearer {shown}"}


def _key_of(base_url: str, config: GithubConfig, repository: str) -> str:
    digest = hashlib.sha256(config.private_key.get_secret_value().encode()).hexdigest()
    return f"{base_url} {config.app_id} {config.installation_id} {digest} {repository.lower()}"


def _mint(base_url: str, config: GithubConfig, repository: str) -> tuple[str, float]:
    try:
        answer = request(
            LABEL,
            "POST",
            f"{base_url}{token_path(config.installation_id)}",
            headers=_app_headers(config),
            json=token_request(repository, PERMISSIONS),
        )
    except PlatformAway as error:
        # What the token was for was not sent at all.
        raise away(LABEL, may_have_arrived=False) from error
    if answer.status_code != httpx.codes.CREATED:
        raise translate(answer, is_token=True)
    try:
        made = read_token(answer.content, repository)
    except ValueError as error:
        raise PlatformRefused(str(error)) from error
    return made.text, made.good_until - time.time()
