"""The GitHub API of the repositories that an account may be used for.

Source: https://docs.github.com/en/rest
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx2

from services.adapters.accounts.github.failures import failure_of
from services.adapters.accounts.github.tokens import TokenBroker
from services.adapters.github_app import VERSION_HEADERS
from services.domain.errors import AccountDenied, AccountRefused
from services.domain.ports.accounts import AccountAccess

READ_S = 30.0
MAX_KEPT = 500
MAX_KEPT_BYTES = 200_000
_DIFF = "application/vnd.github.diff"
_NEXT = re.compile(r'<([^<>]+)>;\s*rel="next"')


@dataclass(frozen=True, slots=True)
class Wanted:
    """One request: what it needs the right to, and what is asked."""

    permissions: Mapping[str, str]
    method: str
    path: str
    params: Mapping[str, Any] | None = None
    json: Any = None
    accept: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came: JSON, or text where text was asked for; the next page's number, where there is one."""

    body: Any
    next_page: int | None


class Remembered:
    """Answers by what was asked, with their ETags: asked again, what has not changed costs nothing of the limit."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Any, ...], tuple[str, bytes, str]] = OrderedDict()

    def find(self, key: tuple[Any, ...]) -> tuple[str, bytes, str] | None:
        """Return ETag, body and Link header of an answer."""
        return self._kept.get(key)

    def keep(self, key: tuple[Any, ...], answer: httpx2.Response) -> None:
        """Keep an answer that has an ETag and is not large."""
        etag = answer.headers.get("etag")
        if etag and len(answer.content) <= MAX_KEPT_BYTES:
            self._kept[key] = (etag, answer.content, answer.headers.get("link", ""))
            self._kept.move_to_end(key)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)


class GithubClient:
    """The repositories of one account, for one agent. Its calls raise the errors of accounts."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        base: str,
        access: AccountAccess,
        broker: TokenBroker,
        remembered: Remembered,
    ) -> None:
        self._http, self._base, self._access = http, base, access
        self._broker, self._remembered = broker, remembered

    @property
    def repositories(self) -> list[str]:
        """Return the repositories that the agent may use."""
        allowed: list[str] = self._access.settings.repositories_of(self._access.agent_id)
        return allowed

    def allowed(self, repository: str) -> str:
        """Return a repository's name as it was allowed. Raises: AccountDenied."""
        for name in self.repositories:
            if name.lower() == repository.lower():
                return name
        there = ", ".join(self.repositories[:30]) or "none"
        raise AccountDenied(f"This account may not be used for {repository}. It may for: {there}.")

    async def ask(self, repository: str, wanted: Wanted) -> Answer:
        """Ask about one repository, with a token for it and for what is asked only. `path` is below the repository."""
        name = self.allowed(repository)
        return await self._send(name, wanted, f"{self._base}/repos/{quote(name)}{wanted.path}")

    async def search(self, repository: str, kind: str, wanted: Wanted) -> Answer:
        """Search in one repository: `kind` is `issues` or `code`."""
        return await self._send(self.allowed(repository), wanted, f"{self._base}/search/{kind}")

    async def diff(self, repository: str, number: int) -> str:
        """Return a pull request's difference as text."""
        wanted = Wanted({"pull_requests": "read"}, "GET", f"/pulls/{number}", accept=_DIFF)
        return str((await self.ask(repository, wanted)).body)

    async def _send(self, repository: str, wanted: Wanted, url: str) -> Answer:
        key = (
            self._access.account_id, self._access.version, repository, url,
            tuple(sorted((wanted.params or {}).items())), tuple(wanted.permissions.items()), wanted.accept,
        )  # fmt: skip
        known = self._remembered.find(key) if wanted.method == "GET" else None
        headers = {**VERSION_HEADERS, **({"If-None-Match": known[0]} if known else {})}
        if wanted.accept:
            headers["Accept"] = wanted.accept
        answer = await self._authorised(repository, wanted, url, headers)
        if answer.status_code == 304 and known is not None:
            return _read(known[1], known[2], wanted.accept)
        if not answer.is_success:
            raise failure_of(answer)
        if wanted.method == "GET":
            self._remembered.keep(key, answer)
        return _read(answer.content, answer.headers.get("link", ""), wanted.accept)

    async def _authorised(
        self, repository: str, wanted: Wanted, url: str, headers: dict[str, str]
    ) -> httpx2.Response:
        """Send with a token; once more with another, when the one that was kept is not taken any more."""
        refused: str | None = None
        while True:
            token = await self._broker.token(
                self._access, repository, dict(wanted.permissions), self._http, refused=refused
            )
            answer = await self._http.request(
                wanted.method,
                url,
                params=dict(wanted.params) if wanted.params else None,
                json=wanted.json,
                headers={**headers, "Authorization": f"Bearer {token}"},
            )
            if answer.status_code != 401 or refused is not None:
                return answer
            refused = token


def _read(content: bytes, link: str, accept: str | None) -> Answer:
    if accept is not None:
        return Answer(content.decode("utf-8", "replace"), None)
    if not content:
        return Answer(None, None)
    try:
        return Answer(json.loads(content), _next_page(link))
    except ValueError as error:
        raise AccountRefused("GitHub's answer is not to be understood.") from error


def _next_page(link: str) -> int | None:
    """Return the page that a Link header names as the next; its address is not followed."""
    found = _NEXT.search(link)
    page = parse_qs(urlsplit(found[1]).query).get("page", [""])[0] if found else ""
    return int(page) if page.isascii() and page.isdigit() and len(page) < 10 else None
