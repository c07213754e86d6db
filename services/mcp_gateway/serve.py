"""Runs the gateway of this host: one app, on a loopback port for people's tools and on a socket for each sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import uuid
from collections.abc import AsyncIterator, Callable

import django
import uvicorn
import uvloop
from prometheus_client import CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "services.mcp_gateway.settings")
django.setup()

from services.kit.environment import environment  # noqa: E402
from services.mcp_gateway.call_log import CALL_LOG  # noqa: E402
from services.mcp_gateway.caller_cache import CALLERS  # noqa: E402
from services.mcp_gateway.host import HostGateway  # noqa: E402
from services.mcp_gateway.http import build_routes, lifespan_contexts  # noqa: E402
from services.mcp_gateway.internal import InternalApi  # noqa: E402
from services.mcp_gateway.limits import LIMITS  # noqa: E402
from services.mcp_gateway.llm.watching import MODEL_METRICS  # noqa: E402
from services.mcp_gateway.sandbox_files import FILES  # noqa: E402

log = logging.getLogger(__name__)

WS_FRAME_BYTES = 4 * 1024**2


class Gateway:
    """The app, the server on the loopback port, and the sockets of the sandboxes, sharing one event loop."""

    def __init__(self) -> None:
        env = environment()
        self._host = HostGateway(env, self._sandbox_protocol)
        FILES.serve_from(self._host.channels, self._host.find_link)
        self._app = Starlette(
            routes=[
                Route("/health", self._health),
                Route("/ready", self._ready),
                Route("/metrics", self._metrics),
                WebSocketRoute("/runner", self._runner),
                WebSocketRoute("/runner/channels/{channel_id:uuid}", self._channel),
                *InternalApi(
                    env.secret_key.get_secret_value(), self._host.channels, self._host.find_link
                ).routes(),
                *build_routes(),
            ],
            lifespan=self._lifespan,
        )
        self._config = uvicorn.Config(
            self._app,
            host=env.bind_host,
            port=env.gateway_port,
            loop="uvloop",
            http="httptools",
            ws="websockets-sansio",
            ws_max_size=WS_FRAME_BYTES,
            ws_per_message_deflate=False,
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=3,
        )
        self._server = uvicorn.Server(self._config)
        self._sandbox_state = ServerState()

    async def run(self) -> None:
        """Serve until told to stop."""
        await self._server.serve()

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        async with lifespan_contexts():
            serving = asyncio.create_task(self._host.run())
            yield
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving

    def _sandbox_protocol(self, sandbox_id: uuid.UUID) -> Callable[[], asyncio.Protocol]:
        """Return what makes a protocol for each connection on one sandbox's socket.

        The id travels in the ASGI scope's state: whoever is behind the socket cannot forge it.
        """
        state = {"sandbox_id": str(sandbox_id)}
        return lambda: HttpToolsProtocol(self._config, self._sandbox_state, app_state=dict(state))

    async def _runner(self, websocket: WebSocket) -> None:
        sandbox_id = websocket.scope.get("state", {}).get("sandbox_id")
        if sandbox_id is None:
            # Only a sandbox's own socket says who is there.
            refusal = JSONResponse({"error": {"code": "token_invalid", "message": "Not a sandbox."}}, 401)
            refusal.headers["WWW-Authenticate"] = "Bearer"
            await websocket.send_denial_response(refusal)
            return
        await self._host.serve_link(websocket, uuid.UUID(sandbox_id))

    async def _channel(self, websocket: WebSocket) -> None:
        sandbox_id = websocket.scope.get("state", {}).get("sandbox_id")
        if sandbox_id is None:
            await websocket.close()
            return
        await self._host.channels.serve(websocket, uuid.UUID(sandbox_id), websocket.path_params["channel_id"])

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _ready(self, request: Request) -> Response:
        is_ready = self._host.is_synced
        return JSONResponse({"database": "ok" if is_ready else "unavailable"}, 200 if is_ready else 503)

    async def _metrics(self, request: Request) -> Response:
        lines = [f"slipway_gateway_{name} {count}" for name, count in self._host.counts.items()]
        registry = CollectorRegistry(auto_describe=False)
        for collector in (CALL_LOG, MODEL_METRICS, LIMITS, CALLERS):
            registry.register(collector)
        return PlainTextResponse("\n".join(lines) + "\n" + generate_latest(registry).decode())


def main() -> None:
    """Start the gateway."""
    env = environment()
    (env.run_dir / "s").mkdir(parents=True, exist_ok=True)
    most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Gateway().run())


if __name__ == "__main__":
    main()
