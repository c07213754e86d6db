"""HTTP/1.1 between the agent, the proxy and the host: read, checked and written anew, never passed on as bytes.

Because both sides are written by h11 from what was understood, no framing that the two sides read differently survives.
Source: RFC 9112 sections 3.2 and 6, RFC 9110 section 7.6.1.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import h11

from services.kit.addresses import HostInvalid, normalise_host
from services.mcp_gateway.egress.failures import (
    CREDENTIAL_ENCODED,
    HOST_HEADER,
    MALFORMED,
    UPSTREAM_BROKE,
    Refused,
)
from services.mcp_gateway.egress.injection import Headers
from services.mcp_gateway.egress.scrub import Scrubber
from services.mcp_gateway.egress.streams import Stream

MAX_HEAD_BYTES = 32 * 1024
_ABSOLUTE = re.compile(rb"http://([^/?#@\\]+)((?:[/?][^#]*)?)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?")
_OF_ONE_HOP = frozenset(
    {
        b"connection", b"proxy-connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te",
        b"trailer", b"transfer-encoding", b"upgrade", b"expect", b"host",
    }
)  # fmt: skip
_NEVER_NAMED_AWAY = frozenset({b"content-length"})

FromClient = h11.Request | h11.Data | h11.EndOfMessage | h11.ConnectionClosed


def parse_authority(text: str, default_port: int | None = None) -> tuple[str, int]:
    """Return the normal host and the port of `host:port`. Raises: Refused."""
    found = _AUTHORITY.fullmatch(text)
    port = found[2] or default_port if found else None
    if found is None or port is None or not 0 < int(port) < 65_536:
        raise Refused(MALFORMED)
    try:
        return normalise_host(found[1]), int(port)
    except HostInvalid as error:
        raise Refused(MALFORMED) from error


def parse_absolute(target: bytes) -> tuple[str, int, bytes]:
    """Return host, port and path of `http://host[:port]/path`. Raises: Refused."""
    found = _ABSOLUTE.fullmatch(target)
    if found is None or not found[1].isascii():
        raise Refused(MALFORMED)
    host, port = parse_authority(found[1].decode(), 80)
    path = found[2] or b"/"
    return host, port, path if path.startswith(b"/") else b"/" + path


def check_host_header(request: h11.Request, host: str, port: int, default_port: int) -> None:
    """Refuse a request whose Host header is about another place. Raises: Refused."""
    for name, value in request.headers:
        if name != b"host":
            continue
        try:
            named = parse_authority(value.decode("ascii"), default_port)
        except (UnicodeDecodeError, Refused) as error:
            raise Refused(HOST_HEADER) from error
        if named != (host, port):
            raise Refused(HOST_HEADER)


class ClientSide:
    """The agent's connection: its requests one after the other, and their answers."""

    def __init__(self, stream: Stream, head_s: float) -> None:
        self.stream = stream
        self._head_s = head_s
        self._is_head = False
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)

    async def next_request(self) -> h11.Request | None:
        """Return the next request; None when there is none any more. Raises: Refused for what is no request."""
        if self._h11.our_state is h11.DONE:
            self._h11.start_next_cycle()
        try:
            async with asyncio.timeout(self._head_s):
                event = await self.next_event()
        except TimeoutError:
            return None
        except h11.RemoteProtocolError as error:
            raise Refused(MALFORMED) from error
        if not isinstance(event, h11.Request):
            return None
        self._is_head = event.method == b"HEAD"
        names = [name for name, _ in event.headers]
        if b"transfer-encoding" in names and b"content-length" in names:
            raise Refused(MALFORMED)
        return event

    async def next_event(self) -> FromClient:
        """Return what the agent says next. Raises: h11.RemoteProtocolError."""
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            if self._h11.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            self._h11.receive_data(await self.stream.read())
        assert isinstance(event, FromClient)  # noqa: S101 (PAUSED is where we stop reading)
        return event

    async def send(self, event: h11.Event) -> None:
        """Say something to the agent."""
        data = self._h11.send(event)
        if data:
            await self.stream.write(data)

    async def accept_tunnel(self) -> bytes:
        """Answer CONNECT with yes; returns what the agent has sent ahead."""
        while not isinstance(await self.next_event(), h11.EndOfMessage):
            pass
        await self.send(h11.Response(status_code=200, headers=[], reason=b"Connection established"))
        return bytes(self._h11.trailing_data[0])

    async def refuse(self, refused: Refused) -> None:
        """Answer with why not; nothing when an answer was begun already."""
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = {"error": {"code": "egress_refused", "reason": refused.reason, "message": refused.message}}
        data = json.dumps(body).encode() + b"\n"
        headers = [
            ("content-type", "application/json"), ("content-length", str(len(data))), ("connection", "close"),
        ]  # fmt: skip
        # Some tools show of a refused CONNECT nothing but this line.
        reason = f"Egress refused: {refused.reason}".encode()
        response = h11.Response(status_code=refused.status, headers=headers, reason=reason)
        await self.send(response)
        if not self._is_head:
            await self.send(h11.Data(data=data))
        await self.send(h11.EndOfMessage())

    @property
    def is_reusable(self) -> bool:
        """Say whether another request may come on this connection."""
        return self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What goes to the host in place of what the agent said, and what is blotted out of the answer."""

    target: bytes = field(repr=False)
    authority: str
    headers: Headers = field(repr=False)
    scrubber: Scrubber | None = None


async def forward(client: ClientSide, request: h11.Request, stream: Stream, out: Outgoing) -> None:
    """Send a request to the host, and its answer back. Raises: Refused when the host does not keep to HTTP."""
    upstream = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
    headers = [
        (b"host", out.authority.encode()), *out.headers, *_framing(request), (b"connection", b"close"),
    ]  # fmt: skip
    head = h11.Request(method=request.method, target=out.target, headers=headers)
    await stream.write(upstream.send(head) or b"")
    sending = asyncio.create_task(_send_body(client, upstream, stream))
    try:
        await _send_answer(client, upstream, stream, out.scrubber)
    except (h11.RemoteProtocolError, OSError) as error:
        raise Refused(UPSTREAM_BROKE) from error
    finally:
        # A host may answer before it has read everything; what is left of the body is nobody's then.
        sending.cancel()
        await asyncio.wait({sending})
        if not sending.cancelled():
            sending.exception()


async def _send_body(client: ClientSide, upstream: h11.Connection, stream: Stream) -> None:
    """Send the rest of the request. One that is broken, or whose agent is gone, ends the host's connection too."""
    is_whole = False
    try:
        while isinstance(event := await client.next_event(), h11.Data):
            await stream.write(upstream.send(h11.Data(data=bytes(event.data))) or b"")
        if isinstance(event, h11.EndOfMessage):
            await stream.write(upstream.send(h11.EndOfMessage()) or b"")
            is_whole = True
    finally:
        if not is_whole:
            stream.close()


async def _send_answer(
    client: ClientSide, upstream: h11.Connection, stream: Stream, scrubber: Scrubber | None
) -> None:
    while True:
        event = upstream.next_event()
        if event is h11.NEED_DATA:
            upstream.receive_data(await stream.read())
        elif isinstance(event, h11.Response):
            await client.send(_answer_head(event, scrubber))
        elif isinstance(event, h11.Data):
            data = bytes(event.data)
            await client.send(h11.Data(data=scrubber.feed(data) if scrubber else data))
        elif isinstance(event, h11.EndOfMessage):
            if scrubber and (rest := scrubber.end()):
                await client.send(h11.Data(data=rest))
            await client.send(h11.EndOfMessage())
            return
        elif isinstance(event, h11.ConnectionClosed):
            raise Refused(UPSTREAM_BROKE)


def _answer_head(event: h11.Response, scrubber: Scrubber | None) -> h11.Response:
    headers, reason = passed_on(event.headers), event.reason
    if scrubber:
        encodings = {value.strip().lower() for name, value in headers if name == b"content-encoding"}
        if encodings - {b"", b"identity"}:
            raise Refused(CREDENTIAL_ENCODED)
        headers, reason = scrubber.clean_headers(headers), scrubber.clean(bytes(reason))
    return h11.Response(status_code=event.status_code, headers=headers, reason=reason)


def passed_on(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return the headers that are for the other end, without those of one hop and those named as such."""
    given = list(headers)
    named = {
        token.strip().lower() for name, value in given if name == b"connection" for token in value.split(b",")
    }
    left_out = (named - _NEVER_NAMED_AWAY) | _OF_ONE_HOP
    return [(name, value) for name, value in given if name not in left_out]


def _framing(request: h11.Request) -> Headers:
    is_chunked = any(name == b"transfer-encoding" for name, _ in request.headers)
    return [(b"transfer-encoding", b"chunked")] if is_chunked else []
