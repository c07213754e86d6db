"""Calls to a homeserver, to addresses that were checked: tenants name their own servers.

Source: https://spec.matrix.org/v1.11/client-server-api/
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx2

from services.adapters.chat.matrix.config import MatrixConfig
from services.adapters.chat.matrix.failures import away, translate_answer, translate_network
from services.adapters.chat.wire import read_object
from services.adapters.upstreams.network import Network
from services.domain.errors import FileTooLarge, MalformedBody, UpstreamAway, UpstreamRefused

T = TypeVar("T")

API = "/_matrix/client/v3"
# How long a homeserver holds a question for what is new, and how long we wait for any answer.
POLL_MS = 25_000
READ_S = 40.0
MAX_ANSWER_BYTES = 110_000_000


def path(*parts: str) -> str:
    """Return the address of a call of the client-server API, each part escaped."""
    return API + "".join(f"/{quote(part, safe='')}" for part in parts)


class Homeserver:
    """Where homeservers are. `base_url` stands for links that name none; its host is the operator's own."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._network = Network(internal_hosts=frozenset({urlsplit(base_url).hostname or ""}))

    def run(self, config: MatrixConfig, talk: Callable[[Conversation], Coroutine[Any, Any, T]]) -> T:
        """Make some calls of one account over one connection, and wait for them.

        Raises: PlatformThrottled, PlatformAway, PlatformRefused.
        """

        async def converse() -> T:
            async with self.open(config) as conversation:
                return await talk(conversation)

        return asyncio.run(converse())

    def open(self, config: MatrixConfig) -> Conversation:
        """Return a conversation, to be entered."""
        client = self._network.client(read_s=READ_S, most_bytes=MAX_ANSWER_BYTES)
        return Conversation(client, (config.homeserver or self._base_url).rstrip("/"), config)


class Conversation:
    """Calls of one account over one connection."""

    def __init__(self, client: httpx2.AsyncClient, base: str, config: MatrixConfig) -> None:
        self._client, self._base, self.config = client, base, config

    async def __aenter__(self) -> Conversation:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()
        # A connection that broke off is closed one step of the loop later, and the loop ends with the conversation.
        await asyncio.get_running_loop().shutdown_asyncgens()
        for _step in range(3):
            await asyncio.sleep(0)

    async def get(self, address: str, **params: str | int) -> dict[str, Any]:
        """Ask for something."""
        return await self._call("GET", address, params=params)

    async def put(self, address: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Put something there."""
        return await self._call("PUT", address, json=body)

    async def post(self, address: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Have something done."""
        return await self._call("POST", address, json=body)

    async def upload(self, data: bytes, content_type: str, name: str) -> str:
        """Upload a file, and return its `mxc://` address."""
        answer = await self._call(
            "POST",
            "/_matrix/media/v3/upload",
            params={"filename": name},
            content=data,
            headers={"Content-Type": content_type},
        )
        return str(answer.get("content_uri", ""))

    async def download(self, address: str, max_bytes: int) -> bytes:
        """Return a file's bytes. Raises also: FileTooLarge."""
        try:
            async with self._client.stream("GET", self._base + address, headers=self._headers()) as answer:
                if answer.status_code != 200:
                    raise translate_answer(answer, _read(await answer.aread()) or {})
                data = bytearray()
                async for piece in answer.aiter_bytes():
                    data += piece
                    if len(data) > max_bytes:
                        raise FileTooLarge(f"The file has more than {max_bytes} bytes.", max_bytes=max_bytes)
                return bytes(data)
        except (UpstreamAway, UpstreamRefused) as error:
            raise translate_network(error) from error

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.config.access_token.get_secret_value()}"}

    async def _call(self, method: str, address: str, **request: Any) -> dict[str, Any]:
        headers = self._headers() | request.pop("headers", {})
        try:
            answer = await self._client.request(method, self._base + address, headers=headers, **request)
        except (UpstreamAway, UpstreamRefused) as error:
            raise translate_network(error) from error
        body = _read(answer.content)
        if answer.status_code != 200:
            raise translate_answer(answer, body or {})
        if body is None:
            raise away(may_have_arrived=True)
        return body


def _read(content: bytes) -> dict[str, Any] | None:
    try:
        return read_object(content)
    except MalformedBody:
        return None
