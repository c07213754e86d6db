"""Passing a vendor's answer on: whole, or piece by piece while it is being made."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.adapters.models.wire import Answer, BrokenOff
from services.mcp_gateway.llm.recording import Recording
from services.mcp_gateway.llm.reservations import Reservation
from services.mcp_gateway.llm.vendor import Meter
from services.mcp_gateway.llm.watching import ModelWatch

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


def headers_to_pass(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of an answer that concern the caller: nothing of the vendor's account."""
    return {name: headers[name] for name in _PASSED_BACK if name in headers}


def without_key(body: bytes, key: str) -> bytes:
    """Take the real key out of an answer, should the vendor, or what plays it, repeat it."""
    return body.replace(key.encode(), _REDACTED)


class ForwardedStream(Response):
    """Sends each piece on as it comes; settles when the stream ends, however it ends."""

    def __init__(
        self,
        upstream: Answer,
        reservation: Reservation,
        meter: Meter,
        watch: ModelWatch,
        *,
        headers: Mapping[str, str],
        broken: bytes,
        recording: Recording | None,
    ) -> None:
        super().__init__(
            None,
            upstream.status,
            {**headers_to_pass(upstream.headers), **headers, "cache-control": "no-cache"},
        )
        # A body of unknown length: the empty one of the base class must not be announced.
        del self.headers["content-length"]
        self._upstream = upstream
        self._reservation = reservation
        self._meter = meter
        self._watch = watch
        self._broken = broken
        self._is_broken = False
        self._recording = recording

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the vendor has ended, the caller has gone, or the call is too old."""
        passing = asyncio.create_task(self._pass_on(send))
        leaving = asyncio.create_task(_wait_for_disconnect(receive))
        try:
            await asyncio.wait({passing, leaving}, return_when=asyncio.FIRST_COMPLETED, timeout=MAX_CALL_S)
            self._watch.stop(self._how_it_ended(passing, leaving))
        finally:
            for task in (passing, leaving):
                task.cancel()
            await asyncio.gather(passing, leaving, return_exceptions=True)
            self._watch.used = self._meter.tokens
            await self._reservation.settle(self._watch.used)
            if self._recording is not None:
                await self._recording.keep()
        # What broke on the caller's side is the caller's; what broke in here must be seen.
        if not passing.cancelled() and (error := passing.exception()) and not isinstance(error, OSError):
            raise error

    def _how_it_ended(self, passing: asyncio.Task[None], leaving: asyncio.Task[None]) -> str:
        if not passing.done():
            return "cancelled" if leaving.done() else "model_timeout"
        if (error := passing.exception()) is not None:
            return "cancelled" if isinstance(error, OSError) else "internal"
        if self._is_broken:
            return "upstream_broke"
        return "vendor_failed" if self._meter.has_failed else ""

    async def _pass_on(self, send: Send) -> None:
        feed, note, recording = self._meter.feed, self._watch.piece, self._recording
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            try:
                async for piece in self._upstream.pieces():
                    feed(piece)
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    note(len(piece))
                    if recording is not None:
                        recording.add(piece)
            except BrokenOff as error:
                log.warning("the vendor's stream broke: %s", error)
                self._is_broken = True
                await send({"type": "http.response.body", "body": self._broken, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._upstream.close()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
