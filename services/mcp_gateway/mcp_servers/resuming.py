"""Sessions whose streams can be taken up again: what was sent last is kept, for each session apart and for a while."""

from __future__ import annotations

from collections import deque

from mcp.server.streamable_http import EventCallback, EventId, EventMessage, EventStore, StreamId
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import JSONRPCMessage

MAX_EVENTS = 256
MAX_BYTES = 1024**2
RETRY_MS = 1_000
"""When a program whose stream ended is asked to come again."""


class SessionEvents(EventStore):
    """What one session was sent last, up to a number of messages and of bytes.

    One for each session: the protocol's library numbers the streams of all sessions alike, so that of a common store
    one session could read what another was sent.
    """

    def __init__(self) -> None:
        self._kept: deque[tuple[EventId, StreamId, JSONRPCMessage | None, int]] = deque()
        self._last, self._size = 0, 0

    async def store_event(self, stream_id: StreamId, message: JSONRPCMessage | None) -> EventId:
        """Keep a message, and forget the oldest ones where there is no more room."""
        self._last += 1
        event_id = str(self._last)
        size = 0 if message is None else len(message.model_dump_json())
        self._kept.append((event_id, stream_id, message, size))
        self._size += size
        while len(self._kept) > MAX_EVENTS or (self._size > MAX_BYTES and len(self._kept) > 1):
            self._size -= self._kept.popleft()[3]
        return event_id

    async def replay_events_after(
        self, last_event_id: EventId, send_callback: EventCallback
    ) -> StreamId | None:
        """Send again what came after a message in its stream; None when the message is not kept any more."""
        kept = list(self._kept)
        place = next((n for n, (event_id, *_) in enumerate(kept) if event_id == last_event_id), None)
        if place is None:
            return None
        wanted = kept[place][1]
        for event_id, stream_id, message, _ in kept[place + 1 :]:
            if stream_id == wanted and message is not None:
                await send_callback(EventMessage(message, event_id))
        return wanted


class SessionManager(StreamableHTTPSessionManager):
    """The library's manager, with a store for each session in place of one for all."""

    @property
    def event_store(self) -> EventStore | None:
        """Return a new store: the library asks once for each session that begins."""
        return None if self.stateless else SessionEvents()

    @event_store.setter
    def event_store(self, given: EventStore | None) -> None:
        """Take nothing: the library's own default is none."""
