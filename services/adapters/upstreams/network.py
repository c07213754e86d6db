"""HTTP to hosts that strangers name: https, checked addresses only, no redirects, no proxies, bounded answers."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpcore2
import httpx2

from services.domain.errors import UpstreamAway, UpstreamRefused
from services.kit.addresses import IPAddress, find_address, is_public

Resolve = Callable[[str], Awaitable[Sequence[str]]]

CONNECT_S = 10.0
RESOLVE_S = 8.0
MAX_ADDRESSES = 64
MAX_TRIED = 3
MAX_ANSWER_BYTES = 8 * 1024**2

# Threads of its own: a resolver that hangs must not keep anything else waiting.
_resolvers = ThreadPoolExecutor(max_workers=16, thread_name_prefix="upstream-resolver")


async def resolve_by_system(host: str) -> Sequence[str]:
    """Ask the system's resolver for a name's addresses. Raises: OSError."""
    look_up = functools.partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_resolvers, look_up)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True)
class Network:
    """The way out. `internal_hosts` are the operator's own: wherever they are, and by http too."""

    internal_hosts: frozenset[str] = frozenset()
    resolve: Resolve = resolve_by_system
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)

    def client(
        self, *, read_s: float, auth: httpx2.Auth | None = None, most_bytes: int = MAX_ANSWER_BYTES
    ) -> httpx2.AsyncClient:
        """Return a client, to be entered. It follows no redirects and reads no settings of the process."""
        return httpx2.AsyncClient(
            transport=_Guarded(self, most_bytes),
            auth=auth,
            timeout=httpx2.Timeout(CONNECT_S, read=read_s),
            # What comes compressed may be a thousand times as large as it looks.
            headers={"Accept-Encoding": "identity", "User-Agent": "slipway-gateway"},
            follow_redirects=False,
            trust_env=False,
        )

    async def find_addresses(self, host: str) -> list[str]:
        """Return a host's addresses, all of them checked. Raises: UpstreamRefused, UpstreamAway."""
        literal = find_address(host)
        found = [literal] if literal is not None else await self._resolve(host)
        # One bad address spoils the name: whoever mixes them means no good.
        if host not in self.internal_hosts and not all(is_public(address) for address in found):
            raise UpstreamRefused("The server has an address that is not on the public internet.")
        return [str(address) for address in found]

    async def _resolve(self, host: str) -> list[IPAddress]:
        try:
            async with asyncio.timeout(RESOLVE_S):
                found = await self.resolve(host)
            addresses = [ipaddress.ip_address(text) for text in found[:MAX_ADDRESSES]]
        except (OSError, ValueError, UnicodeError) as error:
            raise UpstreamAway("The server's name was not resolved.") from error
        if not addresses:
            raise UpstreamAway("The server's name was not resolved.")
        return addresses


class _Dialler(httpcore2.AsyncNetworkBackend):
    """Dials the addresses that were checked; the name is not looked up again between the check and the connection."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._tcp = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the library's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address that answers. Raises: UpstreamRefused, UpstreamAway."""
        for address in (await self._network.find_addresses(host))[:MAX_TRIED]:
            try:
                return await self._tcp.connect_tcp(address, port, timeout=timeout)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        raise UpstreamAway("The server does not answer.")

    async def sleep(self, seconds: float) -> None:
        """Wait; the library asks for it between tries."""
        await self._tcp.sleep(seconds)


class _Guarded(httpx2.AsyncHTTPTransport):
    """The transport: checks each request's scheme and bounds each answer."""

    def __init__(self, network: Network, most_bytes: int) -> None:
        super().__init__(verify=network.tls, trust_env=False)
        self._most_bytes = most_bytes
        self._internal_hosts = network.internal_hosts
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=network.tls,
            max_connections=64,
            max_keepalive_connections=16,
            keepalive_expiry=30.0,
            network_backend=_Dialler(network),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request. Raises: UpstreamRefused, UpstreamAway."""
        if request.url.scheme != "https" and request.url.host not in self._internal_hosts:
            raise UpstreamRefused("The server leads to an address without https.")
        try:
            answer = await super().handle_async_request(request)
        except httpx2.TransportError as error:
            raise UpstreamAway("The server does not answer, or its certificate is wrong.") from error
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            await answer.aclose()
            raise UpstreamRefused("The server's answer is compressed, though it was asked not to.")
        stream = answer.stream
        if isinstance(stream, httpx2.AsyncByteStream):
            answer.stream = _Bounded(stream, self._most_bytes)
        return answer


class _Bounded(httpx2.AsyncByteStream):
    """An answer's bytes, up to a limit."""

    def __init__(self, stream: httpx2.AsyncByteStream, most_bytes: int) -> None:
        self._stream, self._most_bytes = stream, most_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._most_bytes
        try:
            async for part in self._stream:
                left -= len(part)
                if left < 0:
                    raise UpstreamRefused(f"The server's answer has more than {self._most_bytes} bytes.")
                yield part
        except httpx2.TransportError as error:
            raise UpstreamAway("The server broke off, or was silent for too long.") from error

    async def aclose(self) -> None:
        """Close the connection, or give it back."""
        await self._stream.aclose()
