"""What the HTTP endpoints of this service share: a bounded body, one error form, and an end when the client leaves."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import json
import logging
from typing import Any

from channels.consumer import AsyncConsumer, get_handler_name
from channels.exceptions import StopConsumer

from services.domain.errors import BodyTooLarge, Invalid, MalformedBody, Missing, SlipwayError
from services.realtime.access import Arrival, Visitor
from services.realtime.answers import JSON_HEADERS, Headers, failure_body, failure_headers, json_body
from services.realtime.node import Node

log = logging.getLogger(__name__)

_MAX_BODY_BYTES = 64 * 1024


class MethodNotAllowed(Invalid):
    code = "method_not_allowed"
    status = 405


class Internal(SlipwayError):
    """Something of ours is broken. The log says what."""

    code = "internal"
    status = 500


class Endpoint(AsyncConsumer, abc.ABC):  # type: ignore[misc]  # channels has no types
    """One request. The answer is made in a task, so that the consumer hears it when the client goes away.

    Channels' own AsyncHttpConsumer cannot be used: it is deaf while it answers, and ends as soon as it has.
    """

    scope: dict[str, Any]
    transport = "http"
    methods: tuple[str, ...] = ("GET",)

    def __init__(self) -> None:
        self.visitor: Visitor | None = None
        self.node: Node
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._answering: asyncio.Task[None] | None = None
        self._has_started = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve the request, and leave nothing behind however it ends."""
        self.node = Node.of_scope(scope)
        self.node.counts.connections[self.transport] += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.node.counts.connections[self.transport] -= 1
            self.node.watch.leave(self)
            if self._answering is not None:
                self._answering.cancel()
                await asyncio.gather(self._answering, return_exceptions=True)

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Call the method for a message; no database connection lives here that would have to be closed."""
        await getattr(self, get_handler_name(message))(message)

    async def http_request(self, message: dict[str, Any]) -> None:
        """Collect the body, then begin to answer. What is too large is read to its end and forgotten."""
        self._body_bytes += len(message.get("body", b""))
        if self._body_bytes <= _MAX_BODY_BYTES:
            self._body.append(message.get("body", b""))
        if not message.get("more_body") and self._answering is None:
            self._answering = asyncio.create_task(self._answer())

    async def http_disconnect(self, message: dict[str, Any]) -> None:
        """End: the client has gone, or has its whole answer."""
        raise StopConsumer

    def end(self, reason: str) -> None:
        """End the answer from this side."""
        if self._answering is not None:
            self._answering.cancel()

    @abc.abstractmethod
    async def answer(self) -> None:
        """Make the answer. Raises: SlipwayError, which becomes the error body."""

    @property
    def arrival(self) -> Arrival:
        """Return the request's headers and query."""
        return Arrival.of_scope(self.scope)

    async def admit(self) -> Visitor:
        """Let the caller in, and have them watched."""
        self.visitor = await self.node.admit(self.scope)
        self.node.watch.join(self)
        return self.visitor

    def json_content(self) -> Any:
        """Return the body's content. Raises: MalformedBody, BodyTooLarge."""
        if self._body_bytes > _MAX_BODY_BYTES:
            raise BodyTooLarge("The body is too large.")
        try:
            return json.loads(b"".join(self._body))
        except (ValueError, RecursionError) as error:
            raise MalformedBody("The body is not JSON.") from error

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head of the answer."""
        self._has_started = True
        await self.base_send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, body: bytes, *, is_last: bool = False) -> None:
        """Send a piece of the body."""
        await self.base_send({"type": "http.response.body", "body": body, "more_body": not is_last})

    async def send_json(self, status: int, content: Any) -> None:
        """Send a whole answer."""
        await self.start(status, JSON_HEADERS)
        await self.write(json_body(content), is_last=True)

    async def _answer(self) -> None:
        try:
            self._require_method()
            await self.answer()
        except asyncio.CancelledError:
            # The client has gone, or the process stops: a stream that has begun is ended as a whole one.
            with contextlib.suppress(OSError, RuntimeError):
                await (self.write(b"", is_last=True) if self._has_started else self._refuse_for_now())
        except SlipwayError as error:
            await self._fail(error)
        except OSError:
            return
        except Exception:
            log.exception("%s failed", self.scope["path"])
            await self._fail(Internal("Something went wrong on our side."))

    def _require_method(self) -> None:
        if self.scope["method"] not in self.methods:
            raise MethodNotAllowed("This method is not allowed here.")

    async def _refuse_for_now(self) -> None:
        await self.start(503, [*JSON_HEADERS, (b"retry-after", b"1")])
        shown = {"code": "temporary", "message": "The service restarts. Try again.", "details": {}}
        await self.write(json_body({"error": shown}), is_last=True)

    async def _fail(self, error: SlipwayError) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            if self._has_started:
                await self.write(b"", is_last=True)
                return
            await self.start(error.status, failure_headers(error))
            await self.write(failure_body(error), is_last=True)


class NothingHere(Endpoint):
    """Answers what no route does."""

    methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

    async def answer(self) -> None:
        """Say that there is nothing."""
        raise Missing("There is no such thing.")
