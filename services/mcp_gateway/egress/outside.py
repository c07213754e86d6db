"""The world outside: resolves names itself, checks every address, and dials an address that it has checked."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from services.kit.addresses import IPAddress, find_address, is_public
from services.mcp_gateway.egress.failures import ADDRESS_REFUSED, NAME_UNKNOWN, UNREACHABLE, Refused
from services.mcp_gateway.egress.streams import SocketStream, Stream

RESOLVE_S = 8.0
DIAL_S = 10.0
MAX_TRIED = 4
MAX_ADDRESSES = 64

# Threads of its own: a resolver that hangs must not keep the database waiting.
_resolvers = ThreadPoolExecutor(max_workers=32, thread_name_prefix="resolver")

Resolve = Callable[[str], Awaitable[Sequence[str]]]
Dial = Callable[[str, int], Awaitable[Stream]]


async def resolve_by_system(host: str) -> Sequence[str]:
    """Ask the host's resolver for a name's addresses. Raises: OSError."""
    # The last dot keeps the host's own search domains out of it.
    look_up = functools.partial(socket.getaddrinfo, f"{host}.", None, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_resolvers, look_up)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def dial_by_tcp(address: str, port: int) -> Stream:
    """Connect to an address. Raises: OSError."""
    reader, writer = await asyncio.open_connection(address, port)
    return SocketStream(reader, writer)


@dataclass(frozen=True)
class Outside:
    """How names are resolved and addresses dialled. `known` names hosts of tests, which may be anywhere."""

    resolve: Resolve = resolve_by_system
    dial: Dial = dial_by_tcp
    known: Mapping[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)

    async def find_addresses(self, host: str) -> list[str]:
        """Return a host's addresses, all of them checked. Raises: Refused."""
        if host in self.known:
            return [self.known[host]]
        literal = find_address(host)
        found = [literal] if literal is not None else await self._resolve(host)
        # One bad address spoils the name: whoever mixes them means no good.
        if not all(is_public(address) for address in found):
            raise Refused(ADDRESS_REFUSED)
        return [str(address) for address in found]

    async def _resolve(self, host: str) -> list[IPAddress]:
        try:
            async with asyncio.timeout(RESOLVE_S):
                found = await self.resolve(host)
            addresses = [ipaddress.ip_address(text) for text in found[:MAX_ADDRESSES]]
        except (OSError, ValueError, UnicodeError) as error:
            raise Refused(NAME_UNKNOWN) from error
        if not addresses or len(found) > MAX_ADDRESSES:
            raise Refused(NAME_UNKNOWN)
        return addresses

    async def connect(self, host: str, port: int) -> Stream:
        """Connect to a host at an address that was checked; the name is not looked up again. Raises: Refused."""
        for address in (await self.find_addresses(host))[:MAX_TRIED]:
            try:
                async with asyncio.timeout(DIAL_S):
                    return await self.dial(address, port)
            except OSError:
                continue
        raise Refused(UNREACHABLE)
