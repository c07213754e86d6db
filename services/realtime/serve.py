"""Runs the realtime service: one uvicorn process, on SLIPWAY_BIND_HOST:SLIPWAY_REALTIME_PORT."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

import django
import uvicorn

from services.kit.environment import environment

_SHUTDOWN_WITHIN_S = 5


class RealtimeServer(uvicorn.Server):
    """Ends streams that would never end by themselves before it waits for the open connections."""

    def __init__(self, config: uvicorn.Config, application: Any) -> None:
        super().__init__(config)
        self._application = application

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop: no new connections, tell the open ones, wait, and stop the node."""
        if self._application.lifespan.node is not None:
            self._application.lifespan.node.watch.end_all()
        await super().shutdown(sockets)


def make_server(application: Any, *, host: str, port: int) -> RealtimeServer:
    """Return a server with the settings that were measured best for many small messages."""
    from services.realtime.messages import MAX_FRAME_BYTES

    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_max_size=MAX_FRAME_BYTES,
        lifespan="on",
        interface="asgi3",
        access_log=False,
        log_config=None,
        server_header=False,
        # Addresses matter here only to know this machine, and a proxy's word is no proof of that.
        proxy_headers=False,
        timeout_graceful_shutdown=_SHUTDOWN_WITHIN_S,
    )
    # At INFO uvicorn logs the address of each WebSocket, and with it the tickets.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    return RealtimeServer(config, application)


def main() -> None:
    """Serve until stopped."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "services.realtime.settings")
    env = environment()
    django.setup()
    from services.realtime.app import Application

    logging.getLogger(__name__).info("realtime listens on %s:%s", env.bind_host, env.realtime_port)
    make_server(Application(), host=env.bind_host, port=env.realtime_port).run()


if __name__ == "__main__":
    main()
