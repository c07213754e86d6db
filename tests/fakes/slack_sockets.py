"""Socket Mode of the local Slack server: single-use addresses, envelopes to be acknowledged within three seconds.

As strict as Slack: an unknown acknowledgement closes the connection, an envelope that is not acknowledged comes again
with its attempt counted, on another connection if there is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.fakes.serving import Journal

if TYPE_CHECKING:
    from tests.fakes.slack_server import FakeSlack

JSON = dict[str, Any]
MAX_CONNECTIONS = 10
TICKET_LIFE_S = 30.0
ATTEMPTS = 3


class _Connection:
    def __init__(self, socket: WebSocket, loop: asyncio.AbstractEventLoop) -> None:
        self.socket, self.loop = socket, loop
        self.unacknowledged: dict[str, JSON] = {}

    def send(self, message: JSON) -> None:
        """Send from any thread, and wait until it is sent."""
        asyncio.run_coroutine_threadsafe(self.socket.send_text(json.dumps(message)), self.loop).result(5)

    def close(self, code: int) -> None:
        asyncio.run_coroutine_threadsafe(self.socket.close(code), self.loop).result(5)


class SlackSockets:
    """The connections. `acks` has each acknowledgement with its envelope, `opened` each connection."""

    def __init__(self, server: FakeSlack, refused: Callable[[str], Exception]) -> None:
        self._server, self._refused = server, refused
        self._tickets: dict[str, float] = {}
        self._connections: list[_Connection] = []
        self._waiting: list[JSON] = []
        self._next = itertools.count()
        self.ack_within_s = 3.0
        self.is_enabled = True
        self.opened, self.acks, self.sent = Journal(), Journal(), Journal()

    def open_connection(self, params: JSON, token: str | None) -> JSON:
        """`apps.connections.open`: give out an address, to an app-level token only."""
        if token is None or not token.startswith("xapp-"):
            raise self._refused("not_allowed_token_type")
        if self._server.app_tokens is not None and token not in self._server.app_tokens:
            raise self._refused("invalid_auth")
        if not self.is_enabled:
            raise self._refused("socket_mode_not_enabled")
        ticket = uuid.uuid4().hex
        self._tickets[ticket] = time.monotonic()
        return {"url": f"{self._server.url.replace('http', 'ws', 1)}/link/?ticket={ticket}&app_id=A0001SLIP"}

    async def serve(self, socket: WebSocket) -> None:
        """Serve one connection until either side ends it."""
        made_at = self._tickets.pop(socket.query_params.get("ticket", ""), None)
        if made_at is None or time.monotonic() - made_at > TICKET_LIFE_S:
            await socket.close(4404)
            return
        await socket.accept()
        if len(self._connections) >= MAX_CONNECTIONS:
            await socket.close(4429)
            return
        connection = _Connection(socket, asyncio.get_running_loop())
        await socket.send_text(json.dumps(self._hello()))
        self._connections.append(connection)
        self.opened.add({"number": len(self._connections)})
        for envelope in self._take_waiting():
            await self._give(connection, envelope)
        try:
            while True:
                await self._acknowledge(connection, await socket.receive_text())
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            self._connections.remove(connection)
            self._waiting += connection.unacknowledged.values()
            connection.unacknowledged = {}

    # --- What people do, and Slack ------------------------------------------------------------------------

    def deliver(self, kind: str, payload: JSON) -> str:
        """Give an envelope to one of the connections, or to the next that opens; returns its id."""
        envelope: JSON = {
            "type": kind,
            "envelope_id": str(uuid.uuid4()),
            "payload": payload,
            "accepts_response_payload": kind != "events_api",
            "retry_attempt": 0,
            "retry_reason": "",
        }
        if not self._connections:
            self._waiting.append(envelope)
        else:
            connection = self._connections[next(self._next) % len(self._connections)]
            asyncio.run_coroutine_threadsafe(self._give(connection, envelope), connection.loop).result(5)
        return str(envelope["envelope_id"])

    def deliver_press(self, message: JSON, channel: str, label: str, person_id: str) -> str:
        """Give somebody's press of the button with this label."""
        return self.deliver(
            "interactive", self._server.extras.press_payload(message, channel, label, person_id)
        )

    def ask_to_reconnect(self, reason: str = "refresh_requested") -> None:
        """Say on each connection that it ends soon, and end it a moment later."""
        for connection in list(self._connections):
            connection.send({"type": "disconnect", "reason": reason, "debug_info": {"host": "local"}})

    def break_all(self) -> None:
        """End each connection without a word."""
        for connection in list(self._connections):
            with contextlib.suppress(RuntimeError, TimeoutError):
                connection.close(1011)

    def send_raw(self, text: str) -> None:
        """Send anything at all on each connection."""
        for connection in list(self._connections):
            asyncio.run_coroutine_threadsafe(connection.socket.send_text(text), connection.loop).result(5)

    def count(self) -> int:
        """Count the connections that are open."""
        return len(self._connections)

    async def _give(self, connection: _Connection, envelope: JSON) -> None:
        connection.unacknowledged[envelope["envelope_id"]] = envelope
        self.sent.add(envelope)
        await connection.socket.send_text(json.dumps(envelope))
        connection.loop.call_later(
            self.ack_within_s, lambda: asyncio.ensure_future(self._repeat(connection, envelope))
        )

    async def _repeat(self, connection: _Connection, envelope: JSON) -> None:
        if connection.unacknowledged.pop(envelope["envelope_id"], None) is None:
            return
        if envelope["retry_attempt"] + 1 >= ATTEMPTS or not self._connections:
            return
        other = self._connections[next(self._next) % len(self._connections)]
        again = {"retry_attempt": envelope["retry_attempt"] + 1, "retry_reason": "timeout"}
        await self._give(other, envelope | again)

    async def _acknowledge(self, connection: _Connection, text: str) -> None:
        try:
            envelope_id = json.loads(text)["envelope_id"]
            envelope = connection.unacknowledged.pop(envelope_id)
        except (ValueError, KeyError, TypeError):
            await connection.socket.close(1008)
            return
        self.acks.add({"envelope_id": envelope_id, "payload": envelope["payload"]})

    def _take_waiting(self) -> list[JSON]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def _hello(self) -> JSON:
        return {
            "type": "hello",
            "num_connections": len(self._connections) + 1,
            "connection_info": {"app_id": "A0001SLIP"},
            "debug_info": {"host": "local", "started": "now", "approximate_connection_time": 18060},
        }
