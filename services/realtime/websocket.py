"""The WebSocket `/v1/stream`: authenticate, subscribe, replay from the client's number, forward."""

from __future__ import annotations

import asyncio
from typing import Any

from channels.consumer import AsyncConsumer, get_handler_name
from channels.exceptions import StopConsumer

from services.domain.errors import Invalid, Limited, Missing, RateLimited, SlipwayError
from services.realtime.access import Visitor
from services.realtime.answers import details_of, failure_body, failure_headers
from services.realtime.entry import Entry, reply, resync
from services.realtime.feed import Subscription
from services.realtime.hub import first_number
from services.realtime.messages import (
    Answer,
    AnyMessage,
    Cancel,
    Ping,
    Steer,
    Submit,
    Subscribe,
    TerminalClose,
    TerminalInput,
    TerminalOpen,
    TerminalResize,
    Unsubscribe,
    id_of,
    parse_frame,
    parse_message,
)
from services.realtime.node import Node
from services.realtime.outlet import BoundedOutlet
from services.realtime.terminals import Terminals

CLOSE_CODES = {"access_ended": 4001, "access_changed": 4002, "overflow": 4008, "shutdown": 1012}
_FORWARDS_AT_ONCE = 8
_LAST_WORDS_WITHIN_S = 5.0
_MESSAGES = {
    "access_ended": "The token, ticket or session is no longer valid.",
    "access_changed": "Your rights here are others now. Reconnect with the last number.",
    "overflow": "The connection is too slow. Reconnect with the last number.",
}


class StreamConsumer(AsyncConsumer):  # type: ignore[misc]  # channels has no types
    """One client. What it gets goes through one bounded queue, emptied by one writer."""

    scope: dict[str, Any]

    def __init__(self) -> None:
        self.visitor: Visitor | None = None
        self._node: Node
        self._outlet: BoundedOutlet
        self._terminals: Terminals
        self._subscriptions: dict[str, Subscription] = {}
        self._writer: asyncio.Task[None] | None = None
        self._forwards: set[asyncio.Task[None]] = set()
        self._ending: asyncio.Task[None] | None = None
        self._serving: asyncio.Task[None]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve the connection, and leave nothing behind however it ends."""
        self._node = Node.of_scope(scope)
        self._outlet = self._node.new_outlet()
        self._terminals = Terminals(self._node.rows, self._outlet)
        self._node.counts.connections["websocket"] += 1
        self._serving = asyncio.create_task(super().__call__(scope, receive, send))
        try:
            await asyncio.wait({self._serving})
        finally:
            self._serving.cancel()
            self._node.counts.connections["websocket"] -= 1
            await self._leave()
        if not self._serving.cancelled():
            self._serving.result()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Call the method for a message; no database connection lives here that would have to be closed."""
        await getattr(self, get_handler_name(message))(message)

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        """Let the client in, or answer the handshake with an HTTP error."""
        try:
            self.visitor = await self._node.admit(self.scope)
        except SlipwayError as error:
            await _refuse(self.base_send, error)
            return
        await self.base_send({"type": "websocket.accept"})
        self._writer = asyncio.create_task(self._write())
        self._node.watch.join(self)

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        """Do what a frame asks for; a refusal is an answer, and the connection stays."""
        if self.visitor is None:
            return
        frame: dict[str, Any] = {}
        try:
            frame = parse_frame(message.get("text"))
            await self._obey(parse_message(frame), self.visitor)
        except SlipwayError as error:
            self._outlet.offer(_error(id_of(frame), error))

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """End, because the connection has."""
        raise StopConsumer

    def end(self, reason: str) -> None:
        """End the connection from this side, once."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._say_goodbye(reason))

    async def _obey(self, message: AnyMessage, visitor: Visitor) -> None:
        match message:
            case Subscribe():
                await self._subscribe(message, visitor)
            case Unsubscribe():
                self._unsubscribe(message.stream)
                self._outlet.offer(reply("ok", id=message.id, stream=message.stream))
            case Ping():
                self._outlet.offer(reply("pong", id=message.id))
            case TerminalInput() | TerminalResize() | TerminalClose():
                await self._terminals.obey(message)
            case Submit() | Cancel() | Steer() | Answer() | TerminalOpen():
                if len(self._forwards) >= _FORWARDS_AT_ONCE:
                    raise RateLimited("Too many requests at once on this connection.", retry_after_s=1)
                task = asyncio.create_task(self._forward(message, visitor))
                self._forwards.add(task)
                task.add_done_callback(self._forwards.discard)

    async def _subscribe(self, message: Subscribe, visitor: Visitor) -> None:
        """Answer with where the stream stands, then replay and follow. Again for the same stream: start anew."""
        others = self._subscriptions.keys() - {message.stream}
        if len(others) >= self._node.pace.streams_per_connection:
            raise Limited("Too many streams on this connection.")
        hub = self._node.hub
        subscription, kept = await hub.open(visitor.actor, message.stream, self._outlet)
        try:
            after, is_too_old = first_number(message.after, kept)
        except Invalid:
            hub.close(subscription)
            raise
        self._unsubscribe(message.stream)
        self._subscriptions[message.stream] = subscription
        self._outlet.offer(reply("ok", id=message.id, stream=message.stream, after=after, head=kept.head))
        if is_too_old:
            self._outlet.offer(resync(message.stream, kept.oldest))
        hub.replay_then_follow(subscription, after)

    def _unsubscribe(self, stream: str) -> None:
        subscription = self._subscriptions.pop(stream, None)
        if subscription is not None:
            self._node.hub.close(subscription)

    async def _forward(
        self, message: Submit | Cancel | Steer | Answer | TerminalOpen, visitor: Visitor
    ) -> None:
        forwarder = self._node.forwarder
        try:
            if isinstance(message, TerminalOpen):
                await self._terminals.open(message, visitor)
                return
            if isinstance(message, Steer):
                said = await forwarder.steer(visitor, message.task_id, message.text, message.idempotency_key)
                self._outlet.offer(reply("ok", id=message.id, message=said))
                return
            if isinstance(message, Answer):
                field, given = await forwarder.answer(visitor, message)
                self._outlet.offer(reply("ok", **{"id": message.id, field: given}))
                return
            if isinstance(message, Submit):
                task = await forwarder.submit(visitor, message.body, message.idempotency_key)
            else:
                task = await forwarder.cancel(visitor, message.task_id)
        except SlipwayError as error:
            self._outlet.offer(_error(message.id, error))
        else:
            self._outlet.offer(reply("ok", id=message.id, task=task))

    async def _write(self) -> None:
        """Send what the queue holds until the connection ends or the queue has overflown."""
        delivered = self._node.counts.delivered
        try:
            while (entry := await self._outlet.take()) is not None:
                await self.base_send({"type": "websocket.send", "text": entry.text})
                delivered["websocket"] += 1
        except OSError:
            return
        self._node.counts.overflows += 1
        self.end("overflow")

    async def _say_goodbye(self, reason: str) -> None:
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        try:
            async with asyncio.timeout(_LAST_WORDS_WITHIN_S):
                if reason in _MESSAGES:
                    words = reply("error", id=None, code=reason, message=_MESSAGES[reason])
                    await self.base_send({"type": "websocket.send", "text": words.text})
                await self.base_send(
                    {"type": "websocket.close", "code": CLOSE_CODES[reason], "reason": reason}
                )
        except (OSError, RuntimeError):
            # It does not read: uvicorn then closes the transport under it.
            self._serving.cancel()

    async def _leave(self) -> None:
        self._node.watch.leave(self)
        for stream in list(self._subscriptions):
            self._unsubscribe(stream)
        tasks = [task for task in (self._writer, self._ending, *self._forwards) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._terminals.close_all()


def _error(message_id: str | int | None, error: SlipwayError) -> Entry:
    fields: dict[str, Any] = {"id": message_id, "code": error.code, "message": error.message}
    if error.details:
        fields["details"] = details_of(error)
    return reply("error", **fields)


async def _refuse(send: Any, error: SlipwayError) -> None:
    """Answer a handshake with an HTTP error."""
    headers = failure_headers(error)
    await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": failure_body(error)})


class NoSocketHere(AsyncConsumer):  # type: ignore[misc]  # channels has no types
    """Answers a handshake for what no route serves."""

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Say that there is nothing."""
        await _refuse(self.base_send, Missing("There is no such thing."))
        raise StopConsumer
