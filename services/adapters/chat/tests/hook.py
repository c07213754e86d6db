"""A place that webhooks are sent to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.domain.ports.chat import HookReply, HookRequest
from tests.fakes.serving import Journal, LocalServer


class Hook:
    """A webhook that keeps its calls, and answers as it is told."""

    def __init__(self, answer: Callable[[HookRequest], HookReply | None] = lambda call: None) -> None:
        self.calls = Journal()
        self._answer = answer
        self.server = LocalServer(Starlette(routes=[Route("/hook", self._take, methods=["GET", "POST"])]))
        self.url = f"{self.server.url}/hook"

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()

    async def _take(self, request: Request) -> Response:
        call = HookRequest(
            request.method,
            dict(request.headers),
            dict(request.query_params),
            await request.body(),
            datetime.now(UTC),
        )
        self.calls.add({"call": call})
        reply = self._answer(call) or HookReply()
        return Response(reply.body, reply.status, media_type=reply.content_type)
