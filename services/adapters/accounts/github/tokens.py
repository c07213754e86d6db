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
import jwt

from services.adapters.accounts.github.failures import failure_of_token
from services.domain.errors import AccountRefused, AccountUnauthorised
from services.domain.ports.accounts import AccountAccess

VERSION_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
MAX_TOKENS = 2_000
# Ten minutes are allowed, from a clock that may differ from ours.
_JWT_LIFE_S = 540
_CLOCKS_DIFFER_S = 60
# A token that ends while a call is on its way is of no use.
_EARLY_S = 120.0


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
    moment = int(time.time())
    claims = {
        "iss": access.settings.app_id,
        "iat": moment - _CLOCKS_DIFFER_S,
        "exp": moment + _JWT_LIFE_S - _CLOCKS_DIFFER_S,
    }
    try:
        return jwt.encode(claims, access.credentials.private_key.get_secret_value(), algorithm="RS256")
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise AccountUnauthorised("The app's private key is not usable.") from error


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
            f"{self._base}/app/installations/{access.settings.installation_id}/access_tokens",
            # Without the two a token would be good for all that the app may do.
            json={"repositories": [repository.partition("/")[2]], "permissions": permissions},
            headers={**VERSION_HEADERS, "Authorization": f"Bearer {app_token(access)}"},
        )
        if answer.status_code != 201:
            raise failure_of_token(answer, repository, permissions)
        try:
            made = answer.json()
            text, ends = str(made["token"]), datetime.fromisoformat(str(made["expires_at"])).timestamp()
            names = [str(each["full_name"]).lower() for each in made["repositories"]]
        except (ValueError, KeyError, TypeError) as error:
            raise AccountRefused("GitHub's token is not to be understood.") from error
        if names != [repository.lower()]:
            # A name alone says nothing of its owner: the installation may be on another account.
            raise AccountRefused(f"The app is not installed for {repository}.")
        return text, ends - _EARLY_S
