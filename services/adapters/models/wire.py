"""HTTP to the servers of models: connections kept and reused, bytes as they come, addresses checked where they must be.

The parser is in C, and what has arrived at one moment is read as one piece: passing a stream on costs little.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from services.adapters.upstreams.network import Network
from services.domain.errors import SlipwayError
from services.kit.addresses import find_address

CONNECT_S = 10.0
READ_S = 600.0
MAX_ANSWER_BYTES = 64 * 1024**2
_IDLE_S = 60.0
_READ_AT_ONCE_BYTES = 128 * 1024


class NotSent(Exception):
    """The server did not get the call, so it cannot have cost anything."""


class BrokenOff(Exception):
    """The connection broke when the call was on its way, or before the answer was whole."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it goes out. A server that strangers named is dialled at public addresses only."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    is_checked: bool


class Answer:
    """The head of an answer, and its body as it comes."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._first = b""
        self.status = response.status
        self.headers = response.headers

    @property
    def is_success(self) -> bool:
        """Say whether the server did what it was asked."""
        return 200 <= self.status < 300

    async def peek(self) -> bytes:
        """Wait for the first piece, and keep it for whoever reads. Raises: BrokenOff."""
        if not self._first:
            self._first = await self._next()
        return self._first

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield what has arrived, as soon as it has. Raises: BrokenOff."""
        if self._first:
            yield self._first
        while piece := await self._next():
            yield piece

    async def read(self) -> bytes:
        """Read the body to its end. Raises: BrokenOff, also for one without bounds."""
        parts, size = [], 0
        async for piece in self.pieces():
            size += len(piece)
            if size > MAX_ANSWER_BYTES:
                raise BrokenOff("the answer is too large")
            parts.append(piece)
        return b"".join(parts)

    def close(self) -> None:
        """Break off; a connection whose answer was read to its end is kept for the next call."""
        self._response.close() if not self._response.content.at_eof() else self._response.release()

    async def _next(self) -> bytes:
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise BrokenOff(type(error).__name__) from error


class ModelServers:
    """The connections of one process to all servers of models."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._plain: aiohttp.ClientSession | None = None
        self._checked: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> ModelServers:
        self._plain = _session(aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_S))
        checking = aiohttp.TCPConnector(
            limit=0,
            keepalive_timeout=_IDLE_S,
            resolver=_CheckedResolver(self._network),
            use_dns_cache=False,
            ssl=self._network.tls,
        )
        self._checked = _session(checking)
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in (self._plain, self._checked):
            if session is not None:
                await session.close()
        self._plain = self._checked = None

    async def send(self, call: Call) -> Answer:
        """Send a call and return the head of its answer. Raises: NotSent, BrokenOff."""
        session = self._checked if call.is_checked else self._plain
        if session is None:
            raise RuntimeError("the connections have not been entered")
        if call.is_checked:
            await self._refuse_literal(call.url)
        try:
            response = await session.request(
                call.method,
                call.url,
                data=call.body or None,
                headers=call.headers,
                allow_redirects=False,
                skip_auto_headers=("Accept", "User-Agent"),
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotSent(type(error).__name__) from error
        except (aiohttp.ClientError, OSError, TimeoutError, ssl.SSLError) as error:
            raise BrokenOff(type(error).__name__) from error
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            # Asked not to, it compresses: what it says it used could not be read.
            response.close()
            raise BrokenOff("the answer is compressed")
        return Answer(response)

    async def _refuse_literal(self, url: str) -> None:
        """Refuse an address that is written into the URL, of which no resolver is asked. Raises: NotSent."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme != "https" and host not in self._network.internal_hosts:
            raise NotSent("https is required")
        if find_address(host) is not None:
            try:
                await self._network.find_addresses(host)
            except SlipwayError as error:
                raise NotSent(error.message) from error


class _CheckedResolver(AbstractResolver):
    """Gives the connector those addresses only that were checked; the name is not looked up again to connect."""

    def __init__(self, network: Network) -> None:
        self._network = network

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return a host's addresses. Raises: OSError when one of them is not public, or there is none."""
        try:
            found = await self._network.find_addresses(host)
        except SlipwayError as error:
            raise OSError(error.message) from error
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in found
        ]

    async def close(self) -> None:
        """Hold nothing."""


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(
            total=None, connect=CONNECT_S, sock_connect=CONNECT_S, sock_read=READ_S
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        read_bufsize=_READ_AT_ONCE_BYTES,
        requote_redirect_url=False,
    )
