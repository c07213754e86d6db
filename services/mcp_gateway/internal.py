"""What sibling services reach: files and terminals of this host's sandboxes. Never served on a sandbox's socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import uuid
from collections.abc import AsyncIterable, Callable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from services.domain.errors import Invalid, SandboxUnreachable, SlipwayError, TokenInvalid
from services.domain.plane.queries import find_sandbox
from services.kit.tickets import Ticket, TicketInvalid, open_ticket
from services.mcp_gateway.callers import bearer_token
from services.mcp_gateway.channels import Channels
from services.mcp_gateway.threads import run_in_thread

if TYPE_CHECKING:  # which itself puts files into sandboxes
    from services.mcp_gateway.link import Link

log = logging.getLogger(__name__)

ANSWER_S = 120.0
ANSWER_HEADER = "Slipway-Answer"
MAX_ANSWER_CHARS = 30_000
_STREAMED = ("read", "archive")


class FileOrder(BaseModel):
    """One file operation, as the runner takes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    op: Literal["list", "stat", "read", "write", "mkdir", "move", "delete", "archive"]
    path: str
    to: str | None = None
    start: int | None = Field(default=None, ge=0)
    end: int | None = Field(default=None, ge=0)
    suffix: int | None = Field(default=None, ge=0)
    max_bytes: int | None = Field(default=None, ge=0)
    is_new: bool | None = None


class TerminalOrder(BaseModel):
    """A terminal and its size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cols: int = Field(ge=1, le=1_000)
    rows: int = Field(ge=1, le=1_000)


class InternalApi:
    """The routes, over the links and channels of this host."""

    def __init__(
        self, secret: str, channels: Channels, find_link: Callable[[uuid.UUID], Link | None]
    ) -> None:
        self._secret = secret
        self._channels = channels
        self._find_link = find_link

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Route("/internal/v1/files", self._files, methods=["POST"]),
            WebSocketRoute("/internal/v1/terminal", self._terminal),
        ]

    async def _files(self, request: Request) -> Response:
        try:
            link = await self._admit(request.scope, bearer_token(request.headers), "files")
            order = FileOrder.model_validate_json(request.query_params.get("params", ""))
            params = order.model_dump(exclude_none=True)
            if order.op in _STREAMED:
                return await self._stream(link, params)
            async with self._channels.opened(link, "files", params) as channel:
                answer = await (
                    upload(channel, request.stream()) if order.op == "write" else read_answer(channel)
                )
                return JSONResponse(answer)
        except ValidationError as error:
            return _failed(Invalid("The order is not valid.", fields={"params": str(error.error_count())}))
        except SlipwayError as error:
            return _failed(error)
        except ClientDisconnect:
            return Response(status_code=499)

    async def _stream(self, link: Link, params: dict[str, Any]) -> Response:
        """Begin to send a file: what the runner says of it in a header, its bytes in the body."""
        async with contextlib.AsyncExitStack() as stack:
            channel = await stack.enter_async_context(self._channels.opened(link, "files", params))
            answer = await read_answer(channel)
            if answer.get("op") == "error":
                return JSONResponse(answer)
            body = ChannelBody(channel, answer)
            body.stack = stack.pop_all()
            return body

    async def _terminal(self, websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            link = await self._admit(websocket.scope, bearer_token(websocket.headers), "terminal")
            order = TerminalOrder.model_validate_json(websocket.query_params.get("params", ""))
            async with self._channels.opened(link, "terminal", order.model_dump()) as channel:
                await _join(websocket, channel)
        except SlipwayError as error:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await websocket.send_json({"op": "error", "code": error.code, "message": error.message})
        except ValidationError:
            log.warning("a terminal was asked for in a form that is not ours")
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await websocket.close()

    async def _admit(self, scope: Scope, token: str, purpose: str) -> Link:
        """Return the link to the sandbox that a ticket is for. Raises: TokenInvalid, SandboxUnreachable."""
        if "sandbox_id" in scope.get("state", {}):
            raise TokenInvalid("This is not for sandboxes.")
        try:
            ticket: Ticket = open_ticket(self._secret, token, purpose)
        except TicketInvalid as error:
            raise TokenInvalid("The ticket is not valid.") from error
        link = self._find_link(ticket.sandbox_id)
        if (
            link is not None
            and link.org_id is None
            and (row := await run_in_thread(find_sandbox, link.sandbox_id))
        ):
            link.adopt(row)  # a warm one that was claimed a moment ago
        if link is None or link.org_id != ticket.org_id:
            raise SandboxUnreachable("The sandbox is not linked here.", retry_after_s=2)
        return link


class ChannelBody(Response):
    """A channel's bytes as the body of an answer. An end without the runner's word for it breaks the connection off."""

    stack: contextlib.AsyncExitStack

    def __init__(self, channel: WebSocket, answer: dict[str, Any]) -> None:
        headers = {ANSWER_HEADER: json.dumps(answer)}
        if len(headers[ANSWER_HEADER]) > MAX_ANSWER_CHARS:
            raise SandboxUnreachable("The sandbox does not answer as expected.")
        if isinstance(length := answer.get("length"), int) and length >= 0:
            headers["Content-Length"] = str(length)
        super().__init__(media_type="application/octet-stream", headers=headers)
        if "Content-Length" not in headers:
            del self.headers["Content-Length"]
        self._channel = channel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the bytes until their end, or until the caller has gone."""
        async with self.stack:
            leaving = asyncio.create_task(_until_left(receive))
            try:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                while not leaving.done():
                    chunk = await next_chunk(self._channel)
                    body = {
                        "type": "http.response.body",
                        "body": chunk or b"",
                        "more_body": chunk is not None,
                    }
                    await send(body)
                    if chunk is None:
                        return
            finally:
                leaving.cancel()


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def next_chunk(channel: WebSocket) -> bytes | None:
    """Return the next bytes, None at the end. Raises: SandboxUnreachable when it ends otherwise."""
    message = await channel.receive()
    if isinstance(chunk := message.get("bytes"), bytes):
        return chunk
    if message.get("text") == '{"op":"end"}':
        return None
    raise SandboxUnreachable("The sandbox broke off.")


async def read_answer(channel: WebSocket) -> dict[str, Any]:
    """Return the runner's next word. Raises: SandboxUnreachable."""
    try:
        async with asyncio.timeout(ANSWER_S):
            answer = json.loads(await channel.receive_text())
    except (TimeoutError, WebSocketDisconnect, ValueError, KeyError, RuntimeError) as error:
        raise SandboxUnreachable("The sandbox does not answer.", retry_after_s=2) from error
    if not isinstance(answer, dict):
        raise SandboxUnreachable("The sandbox does not answer as expected.", retry_after_s=2)
    return answer


async def upload(channel: WebSocket, chunks: AsyncIterable[bytes]) -> dict[str, Any]:
    """Pass a file's bytes on, at the pace of the slower side; a refusal on the way ends it. Returns the last word.

    Raises: SandboxUnreachable.
    """
    answer = await read_answer(channel)
    if answer.get("op") != "ready":
        return answer
    answering = asyncio.create_task(_answer_of_upload(channel))
    try:
        async for chunk in chunks:
            if answering.done():
                break
            if chunk:
                await channel.send_bytes(chunk)
        else:
            await channel.send_text('{"op": "end"}')
        return await answering
    except (WebSocketDisconnect, RuntimeError, OSError) as error:
        raise SandboxUnreachable("The sandbox broke off.", retry_after_s=2) from error
    finally:
        answering.cancel()


async def _answer_of_upload(channel: WebSocket) -> dict[str, Any]:
    """Wait for the word on an upload. As long as bytes flow there is no limit; the api service has one."""
    try:
        answer = json.loads(await channel.receive_text())
    except (WebSocketDisconnect, ValueError, KeyError, RuntimeError) as error:
        raise SandboxUnreachable("The sandbox does not answer.", retry_after_s=2) from error
    return answer if isinstance(answer, dict) else {}


async def _join(one: WebSocket, other: WebSocket) -> None:
    """Carry frames both ways until either side ends."""
    pumps = [asyncio.create_task(_pump(one, other)), asyncio.create_task(_pump(other, one))]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(source: WebSocket, target: WebSocket) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):
        while (message := await source.receive())["type"] == "websocket.receive":
            if (text := message.get("text")) is not None:
                await target.send_text(text)
            else:
                await target.send_bytes(message["bytes"])


def _failed(error: SlipwayError) -> Response:
    return JSONResponse({"op": "error", "code": error.code, "message": error.message}, error.status)
