"""One connection of an agent to the proxy: which requests, to where, and through which door."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import h11

from services.kit.addresses import find_address
from services.mcp_gateway.egress.authority import AuthorityDoor
from services.mcp_gateway.egress.desk import Desk, Open
from services.mcp_gateway.egress.failures import (
    MALFORMED,
    NAME_DIFFERS,
    NAME_HIDDEN,
    NAME_MISSING,
    NOT_TLS,
    UPSTREAM_BROKE,
    Refused,
)
from services.mcp_gateway.egress.http import (
    ClientSide,
    Outgoing,
    check_host_header,
    forward,
    parse_absolute,
    parse_authority,
    passed_on,
)
from services.mcp_gateway.egress.streams import Stream, StreamFrom, TlsStream, join
from services.mcp_gateway.egress.tls_hello import NotTls, read_hello

# A fatal alert, so that the agent's tool says more than that the connection was closed. Source: RFC 8446 section 6.
_ACCESS_DENIED = bytes.fromhex("15 0303 0002 02 31")


class Session:
    """Serves one connection of a sandbox until it ends."""

    def __init__(self, desk: Desk, authority: AuthorityDoor, upstream_tls: ssl.SSLContext) -> None:
        self._desk = desk
        self._authority = authority
        self._upstream_tls = upstream_tls
        self._open: Open | None = None

    async def run(self, stream: Stream) -> None:
        """Serve. What goes wrong on either side ends the connection and nothing else."""
        client = ClientSide(stream, self._desk.limits.head_s)
        try:
            self._open = self._desk.enter()
        except Refused as refused:
            with self._desk.turning_away() as is_bearable:
                if is_bearable:
                    await _refuse_at_once(client, refused)
            return
        try:
            async with asyncio.timeout(self._desk.limits.connection_s):
                await self._serve(client)
        finally:
            self._desk.open.discard(self._open)

    async def _serve(self, client: ClientSide) -> None:
        while True:
            try:
                request = await client.next_request()
            except Refused as refused:
                await client.refuse(refused)
                return
            if request is None:
                return
            if request.method == b"CONNECT":
                await self._connect(client, request)
                return
            await self._answer(client, request)
            if not client.is_reusable:
                return

    async def _answer(self, client: ClientSide, request: h11.Request) -> None:
        """Answer a plain request, `GET http://host/path`."""
        try:
            host, port, path = parse_absolute(request.target)
        except Refused as refused:
            await client.refuse(refused)
            return
        await self._pass_on(client, request, (host, port), path, is_tls=False)

    async def _pass_on(
        self, client: ClientSide, request: h11.Request, place: tuple[str, int], path: bytes, *, is_tls: bool
    ) -> None:
        host, port = place
        method = request.method.decode("ascii", "replace")
        default_port = 443 if is_tls else 80
        upstream: Stream | None = None
        try:
            check_host_header(request, host, port, default_port)
            await self._desk.find_grant(host, port, method)
            self._note_place(place)
            headers = passed_on(request.headers)
            policy = await self._desk.policy_for(headers, path)
            broker = self._desk.broker
            plan = broker.plan(policy, place, method, headers, path, is_tls=is_tls)
            await broker.wait(plan)
            # The value is opened last: for a host that is there, and has shown who it is.
            upstream = await self._dial(place, is_tls=is_tls)
            filled = await broker.fill(policy, plan, headers, path)
            name = f"[{host}]" if ":" in host else host
            authority = name if port == default_port else f"{name}:{port}"
            out = Outgoing(filled.target, authority, filled.headers, filled.scrubber)
            await forward(client, request, upstream, out)
        except Refused as refused:
            await self._desk.note_refusal(host, port, method, refused.reason)
            await client.refuse(refused)
        finally:
            if upstream is not None:
                upstream.close()

    async def _connect(self, client: ClientSide, request: h11.Request) -> None:
        """Answer `CONNECT host:port`: TLS to exactly that host, and nothing else."""
        try:
            host, port = parse_authority(request.target.decode("ascii", "replace"))
        except Refused as refused:
            await client.refuse(refused)
            return
        upstream: Stream | None = None
        is_accepted = False
        try:
            check_host_header(request, host, port, port)
            await self._desk.find_grant(host, port)
            self._note_place((host, port))
            if not (await self._desk.policy_for([], b"")).is_looked_into(host, port):
                upstream = await self._desk.connect(host, port)
            tunnel = StreamFrom(await client.accept_tunnel(), client.stream)
            is_accepted = True
            hello = await self._read_hello(tunnel, host)
            if upstream is not None:
                await upstream.write(hello)
                await join(client.stream, upstream, self._desk.limits.idle_s)
            else:
                await self._intercept(StreamFrom(hello, client.stream), host, port)
        except Refused as refused:
            await self._desk.note_refusal(host, port, "CONNECT", refused.reason)
            if is_accepted:
                await client.stream.write(_ACCESS_DENIED)
            await client.refuse(refused)
        finally:
            if upstream is not None:
                upstream.close()

    async def _read_hello(self, tunnel: Stream, host: str) -> bytes:
        """Read the TLS hello, which must be for the host of the tunnel. Raises: Refused."""
        try:
            async with asyncio.timeout(self._desk.limits.head_s):
                hello, read = await read_hello(tunnel)
        except NotTls as error:
            raise Refused(NOT_TLS) from error
        if hello.is_encrypted:
            raise Refused(NAME_HIDDEN)
        is_address = find_address(host) is not None
        if hello.server_name is None and not is_address:
            raise Refused(NAME_MISSING)
        if hello.server_name is not None and hello.server_name != host:
            raise Refused(NAME_DIFFERS)
        return read

    async def _intercept(self, tunnel: Stream, host: str, port: int) -> None:
        """End TLS here, and look at each request in it: its method is what the entry is about."""
        context = (await self._authority.open()).context_for(host)
        tls = TlsStream(tunnel, context, server_side=True)
        async with asyncio.timeout(self._desk.limits.head_s):
            await tls.handshake()
        inner = ClientSide(tls, self._desk.limits.head_s)
        while True:
            request = await _next_within(inner)
            if request is None:
                return
            await self._pass_on(inner, request, (host, port), request.target, is_tls=True)
            if not inner.is_reusable:
                return

    async def _dial(self, place: tuple[str, int], *, is_tls: bool) -> Stream:
        stream = await self._desk.connect(*place)
        if not is_tls:
            return stream
        tls = TlsStream(stream, self._upstream_tls, server_side=False, server_name=place[0])
        try:
            async with asyncio.timeout(self._desk.limits.head_s):
                await tls.handshake()
        except (OSError, ssl.CertificateError) as error:
            stream.close()
            raise Refused(UPSTREAM_BROKE) from error
        return tls

    def _note_place(self, place: tuple[str, int]) -> None:
        if self._open is not None:
            self._open.place = place


async def _next_within(inner: ClientSide) -> h11.Request | None:
    """Return the next request of a tunnel, which names a path and no host; None when there is none, or no good one."""
    try:
        request = await inner.next_request()
    except Refused as refused:
        await inner.refuse(refused)
        return None
    if request is not None and (not request.target.startswith(b"/") or b"#" in request.target):
        await inner.refuse(Refused(MALFORMED))
        return None
    return request


async def _refuse_at_once(client: ClientSide, refused: Refused) -> None:
    with contextlib.suppress(Refused):
        if await client.next_request() is not None:
            await client.refuse(refused)
