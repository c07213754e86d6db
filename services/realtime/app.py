"""The ASGI application: which path is served by what."""

from __future__ import annotations

from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path, re_path

from services.realtime.description import DescriptionEndpoint
from services.realtime.endpoint import NothingHere
from services.realtime.longpoll import PollEndpoint, RegisterEndpoint
from services.realtime.node import Node, Pace
from services.realtime.probes import HealthEndpoint, MetricsEndpoint, ReadyEndpoint
from services.realtime.sse import EventsEndpoint
from services.realtime.websocket import NoSocketHere, StreamConsumer


class Lifespan:
    """Makes the node when the server starts, and stops it after the last connection has ended."""

    def __init__(self, pace: Pace, api_url: str | None) -> None:
        self._pace = pace
        self._api_url = api_url
        self.node: Node | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve the server's lifespan."""
        await receive()
        node = Node(self._pace, api_url=self._api_url)
        node.start()
        scope["state"]["node"] = self.node = node
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await node.stop()
        await send({"type": "lifespan.shutdown.complete"})


class Application:
    """The whole service. `lifespan` holds the node while it runs."""

    def __init__(self, pace: Pace | None = None, *, api_url: str | None = None) -> None:
        self.lifespan = Lifespan(pace or Pace(), api_url)
        endpoints = [
            path("v1/events", EventsEndpoint.as_asgi()),
            path("realtime/register", RegisterEndpoint.as_asgi()),
            path("realtime/events", PollEndpoint.as_asgi()),
            path("v1/asyncapi.json", DescriptionEndpoint.as_asgi()),
            path("health", HealthEndpoint.as_asgi()),
            path("ready", ReadyEndpoint.as_asgi()),
            path("metrics", MetricsEndpoint.as_asgi()),
            re_path(r"", NothingHere.as_asgi()),
        ]
        sockets = [path("v1/stream", StreamConsumer.as_asgi()), re_path(r"", NoSocketHere.as_asgi())]
        self._router = ProtocolTypeRouter(
            {"lifespan": self.lifespan, "http": URLRouter(endpoints), "websocket": URLRouter(sockets)}
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        await self._router(scope, receive, send)
