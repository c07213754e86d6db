"""Server-sent events, `/v1/events?stream=…`: the same envelopes, with `id:` as the cursor."""

from __future__ import annotations

import asyncio
import contextlib

from services.domain.errors import Invalid
from services.realtime.access import Arrival
from services.realtime.endpoint import Endpoint
from services.realtime.entry import resync
from services.realtime.hub import first_number
from services.realtime.messages import parse_number
from services.realtime.outlet import BoundedOutlet

RETRY_MS = 1_000
_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
_KEEPALIVE = b": keep-alive\n\n"


class EventsEndpoint(Endpoint):
    """One stream to one client. When it is too slow the answer ends, and it comes back with its `Last-Event-ID`."""

    transport = "sse"

    async def answer(self) -> None:
        """Replay from the client's number, then follow until the client leaves."""
        arrival = self.arrival
        stream, cursor = _stream_of(arrival), _cursor_of(arrival)
        visitor = await self.admit()
        outlet = self.node.new_outlet()
        hub = self.node.hub
        subscription, kept = await hub.open(visitor.actor, stream, outlet)
        try:
            after, is_too_old = first_number(cursor, kept)
            await self.start(200, _HEADERS)
            await self.write(f"retry: {RETRY_MS}\n\n".encode())
            if is_too_old:
                outlet.offer(resync(stream, kept.oldest))
            hub.replay_then_follow(subscription, after)
            await self._send_all(outlet)
        finally:
            hub.close(subscription)

    async def _send_all(self, outlet: BoundedOutlet) -> None:
        """Send entries until the queue overflows, and a comment when there is nothing else for a while."""
        delivered, keepalive_s = self.node.counts.delivered, self.node.pace.keepalive_s
        keepalive = asyncio.create_task(self._keep_alive(keepalive_s))
        try:
            while (entry := await outlet.take()) is not None:
                await self.write(entry.sse)
                delivered["sse"] += 1
                if outlet.has_ended and outlet.is_drained:
                    await self.write(b"", is_last=True)
                    return
        finally:
            keepalive.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await keepalive
        self.node.counts.overflows += 1
        await self.write(b"", is_last=True)

    async def _keep_alive(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            await self.write(_KEEPALIVE)


def _stream_of(arrival: Arrival) -> str:
    streams = arrival.query.get("stream", [])
    if len(streams) != 1:
        # Two streams have two series of numbers, and a client can send back only one `Last-Event-ID`.
        raise Invalid("Name one stream.", fields={"stream": "needed once; for several use the WebSocket"})
    return streams[0]


def _cursor_of(arrival: Arrival) -> int | None:
    """Return the client's number. The header counts more: a browser keeps the address when it reconnects."""
    text = arrival.headers.get("last-event-id") or arrival.one("after")
    if not text:
        return None
    return parse_number(text)
