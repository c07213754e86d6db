"""Passing a vendor's answer on: whole, or piece by piece while it is being made."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import httpx
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.mcp_gateway.llm.reservations import Reservation
from services.mcp_gateway.llm.vendor import Meter

log = logging.getLogger(__name__)

MAX_CALL_S = 1_500.0
"""The longest call that lives. The sweep takes older ones for abandoned, so it must wait longer than this."""
_PASSED_BACK = (
    "content-type",
    "retry-after",
    "retry-after-ms",
    "request-id",
    "x-request-id",
    "x-should-retry",
)
_REDACTED = b"[redacted]"


def headers_to_pass(upstream: httpx.Response) -> dict[str, str]:
    """Return the headers of an answer that concern the caller: nothing of the vendor's account."""
    return {name: upstream.headers[name] for name in _PASSED_BACK if name in upstream.headers}


def without_key(body: bytes, key: str) -> bytes:
    """Take the real key out of an answer, should the vendor, or what plays it, repeat it."""
    return body.replace(key.encode(), _REDACTED)


class ForwardedStream(Response):
    """Sends each piece on as it comes; settles when the stream ends, however it ends."""

    def __init__(
        self, upstream: httpx.Response, reservation: Reservation, meter: Meter, *, broken: bytes
    ) -> None:
        super().__init__(
            None, upstream.status_code, headers_to_pass(upstream) | {"cache-control": "no-cache"}
        )
        # A body of unknown length: the empty one of the base class must not be announced.
        del self.headers["content-length"]
        self._upstream = upstream
        self._reservation = reservation
        self._meter = meter
        self._broken = broken

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the vendor has ended, the caller has gone, or the call is too old."""
        passing = asyncio.create_task(self._pass_on(send))
        leaving = asyncio.create_task(_wait_for_disconnect(receive))
        try:
            await asyncio.wait({passing, leaving}, return_when=asyncio.FIRST_COMPLETED, timeout=MAX_CALL_S)
        finally:
            for task in (passing, leaving):
                task.cancel()
            await asyncio.gather(passing, leaving, return_exceptions=True)
            await self._reservation.settle(self._meter.tokens)
        # What broke on the caller's side is the caller's; what broke in here must be seen.
        if not passing.cancelled() and (error := passing.exception()) and not isinstance(error, OSError):
            raise error

    async def _pass_on(self, send: Send) -> None:
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            try:
                async for chunk in self._upstream.aiter_bytes():
                    self._meter.feed(chunk)
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except httpx.HTTPError as error:
                log.warning("the vendor's stream broke: %s", type(error).__name__)
                await send({"type": "http.response.body", "body": self._broken, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            with contextlib.suppress(httpx.HTTPError):
                await self._upstream.aclose()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
