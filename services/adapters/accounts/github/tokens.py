"""Short-lived tokens of an app's installation: each for one repository, with the rights of one kind of call.

Source: https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime

import httpx2

from services.adapters.accounts.github.failures import failure_of_token
from services.adapters.github_app import (
    VERSION_HEADERS,
    read_token,
    sign_app_token,
    token_path,
    token_request,
)
from services.domain.errors import AccountRefused, AccountUnauthorised
from services.domain.ports.accounts import AccountAccess

MAX_TOKENS = 2_000


@dataclass(frozen=True, slots=True)
class TokenKey:
    """Whose token, for what. Another version of the account's settings is another token."""

    account_id: uuid.UUID
    version: datetime
    repository: str
    permissions: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Kept:
    """A token that is kept while it is good, or is being asked for. Never shown in a repr."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    text: str = field(default="", repr=False)
    good_until: float = 0.0


def app_token(access: AccountAccess) -> str:
    """Sign what shows who the app is. Raises: AccountUnauthorised when the key is none."""
    try:
        return sign_app_token(access.settings.app_id, access.credentials.private_key)
    except ValueError as error:
        raise AccountUnauthorised(str(error)) from error


class TokenBroker:
    """The tokens of this process. Whoever wants the same one waits for one request."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._kept: OrderedDict[TokenKey, _Kept] = OrderedDict()

    async def token(
        self,
        access: AccountAccess,
        repository: str,
        permissions: dict[str, str],
        http: httpx2.AsyncClient,
        *,
        refused: str | None = None,
    ) -> str:
        """Return a token for one repository and these rights only. `refused` is one that GitHub took for bad.

        Raises: AccountUnauthorised, AccountDenied, AccountThrottled, AccountAway, AccountRefused.
        """
        key = TokenKey(access.account_id, access.version, repository, tuple(sorted(permissions.items())))
        kept = self._kept.setdefault(key, _Kept())
        self._kept.move_to_end(key)
        while len(self._kept) > MAX_TOKENS:
            self._kept.popitem(last=False)
        async with kept.lock:
            if kept.text in ("", refused) or kept.good_until <= time.time():
                kept.text, kept.good_until = await self._mint(access, repository, permissions, http)
            return kept.text

    async def _mint(
        self, access: AccountAccess, repository: str, permissions: dict[str, str], http: httpx2.AsyncClient
    ) -> tuple[str, float]:
        answer = await http.post(
            f"{self._base}{token_path(access.settings.installation_id)}",
            json=token_request(repository, permissions),
            headers={**VERSION_HEADERS, "Authorization": f"Bearer {app_token(access)}"},
        )
        if answer.status_code != 201:
            raise failure_of_token(answer, repository, permissions)
        try:
            made = read_token(answer.content, repository)
        except ValueError as error:
            raise AccountRefused(str(error)) from error
        return made.text, made.good_until
