"""Calls: who asks, errors, repeats, pages."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit, urlunsplit

import httpx

from slipway_client._version import VERSION
from slipway_client.errors import ConnectionFailed, SlipwayError, error_of
from slipway_client.retrying import Retries, is_repeatable

ItemT = TypeVar("ItemT")

IDEMPOTENCY_KEY = "Idempotency-Key"
SERVICE_PATH = "/.well-known/slipway"
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class AsyncTransport:
    """One server, as one token. Close it, or use it as a context manager."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        realtime_url: str | None = None,
        timeout_s: float = 60.0,
        retries: Retries | None = None,
    ) -> None:
        self.url = (url or os.environ.get("SLIPWAY_URL", "")).rstrip("/")
        if not self.url:
            raise ValueError("Say which server: url=… or SLIPWAY_URL.")
        given = token if token is not None else os.environ.get("SLIPWAY_TOKEN", "")
        headers = {"User-Agent": f"slipway-client/{VERSION}", "Accept": "application/json"}
        if given:
            headers["Authorization"] = f"Bearer {given}"
        self.retries = retries or Retries()
        self.http = httpx.AsyncClient(headers=headers, timeout=timeout_s, follow_redirects=False)
        self._realtime_url = realtime_url

    async def aclose(self) -> None:
        """Give the connections back."""
        await self.http.aclose()

    async def realtime_url(self) -> str:
        """Return where streams are served, as the server says. Raises: ApiError, ConnectionFailed."""
        if self._realtime_url is None:
            self._realtime_url = str((await self.service())["realtime_url"])
        return as_http(self._realtime_url)

    async def service(self) -> dict[str, Any]:
        """Return what the server says about itself, to anybody. Raises: ApiError, ConnectionFailed."""
        answer = await self.send("GET", SERVICE_PATH)
        found: dict[str, Any] = answer.json()
        return found

    async def call(self, method: str, path: str, **given: Any) -> Any:
        """Make a call to `/v1` and return what its JSON says; None for an empty answer. See `send`."""
        answer = await self.send(method, f"/v1{path}", **given)
        return answer.json() if answer.content else None

    async def fetch(self, method: str, path: str, **given: Any) -> bytes:
        """Make a call to `/v1` and return the answer's bytes. See `send`."""
        answer = await self.send(method, f"/v1{path}", **given)
        return answer.content

    async def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str | None] | None = None,
        json: Any = None,
        content: bytes | None = None,
        form: Mapping[str, str] | None = None,
        takes_key: bool = False,
    ) -> httpx.Response:
        """Make a call, and make it again while that is harmless and may help. Raises: ApiError, ConnectionFailed.

        An operation that `takes_key` gets an Idempotency-Key of its own when the caller gives none, so that a repeat
        does nothing twice.
        """
        sent = {name: value for name, value in (headers or {}).items() if value is not None}
        if takes_key:
            sent.setdefault(IDEMPOTENCY_KEY, str(uuid.uuid4()))
        request = self.http.build_request(
            method, self.url + path, params=_told(params), headers=sent, json=json, content=content, data=form
        )
        may_repeat = is_repeatable(method, sent.get(IDEMPOTENCY_KEY))
        tried = 0
        while True:
            tried += 1
            try:
                return await self._try(request)
            except SlipwayError as error:
                was_sent = not isinstance(error.__cause__, _NEVER_SENT)
                wait_s = self.retries.wait_s(tried, error, is_repeatable=may_repeat or not was_sent)
                if wait_s is None:
                    raise
            await asyncio.sleep(wait_s)

    async def _try(self, request: httpx.Request) -> httpx.Response:
        try:
            answer = await self.http.send(request)
        except _NEVER_SENT as error:
            raise ConnectionFailed(f"The server does not answer: {error}") from error
        except httpx.TransportError as error:
            raise ConnectionFailed(f"The server's answer did not come: {error!r}") from error
        if not answer.is_success:
            raise error_of(answer.status_code, answer.headers, answer.content)
        return answer


class AsyncPages(Generic[ItemT]):
    """A list, fetched page by page while one goes through it."""

    def __init__(self, transport: AsyncTransport, path: str, params: Mapping[str, Any]) -> None:
        self._transport, self._path, self._params = transport, path, dict(params)

    async def page(self, cursor: str | None = None) -> tuple[list[ItemT], str | None]:
        """Return one page and the cursor of the next; None at the end. Raises: ApiError, ConnectionFailed."""
        params = self._params if cursor is None else self._params | {"cursor": cursor}
        found = await self._transport.call("GET", self._path, params=params)
        return found["items"], found["next"]

    async def __aiter__(self) -> AsyncIterator[ItemT]:
        """Go through all items, from the newest."""
        items, cursor = await self.page()
        while True:
            for item in items:
                yield item
            if cursor is None:
                return
            items, cursor = await self.page(cursor)


def as_http(url: str) -> str:
    """Return a WebSocket's address as that of the same server's HTTP."""
    parts = urlsplit(url.rstrip("/"))
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    return urlunsplit(parts._replace(scheme=scheme))


def _told(params: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (params or {}).items() if value is not None}
