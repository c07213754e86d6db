"""How the process is: `/health`, `/ready`, `/metrics`."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable

from prometheus_client import CONTENT_TYPE_LATEST

from services.domain.errors import Missing, Temporary
from services.realtime.endpoint import Endpoint
from services.realtime.livelog import LIVE_LOG_ERRORS

_PROBE_WITHIN_S = 2.0
_PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


class HealthEndpoint(Endpoint):
    """Alive."""

    methods = ("GET", "HEAD")

    async def answer(self) -> None:
        """Say that the process is alive."""
        await self.send_json(200, {"status": "alive"})


class ReadyEndpoint(Endpoint):
    """Ready, with the state of each dependency."""

    methods = ("GET", "HEAD")

    async def answer(self) -> None:
        """Answer 200 while the database does: without Redis every event still arrives, at the sweep's pace."""
        database, redis = await asyncio.gather(
            _is_up(self.node.rows.ping()), _is_up(self.node.live_log.now_ms())
        )
        status = "unavailable" if not database else "ready" if redis else "degraded"
        states = {"database": "ok" if database else "down", "redis": "ok" if redis else "down"}
        content: dict[str, object] = {"status": status, "dependencies": states}
        if database and not redis:
            every_s = self.node.pace.sweep_every_s
            content["note"] = (
                f"without Redis durable events come from the database, within about {every_s:g} s; "
                "live text waits for Redis"
            )
        await self.send_json(200 if database else 503, content)


class MetricsEndpoint(Endpoint):
    """Prometheus metrics, for this machine only, and not through a proxy on it."""

    async def answer(self) -> None:
        """Show the counters. Raises: Missing for anybody else."""
        client = self.scope.get("client")
        is_local = client is not None and ipaddress.ip_address(client[0]).is_loopback
        if not is_local or any(name in self.arrival.headers for name in _PROXY_HEADERS):
            raise Missing("There is no such thing.")
        await self.start(200, [(b"content-type", CONTENT_TYPE_LATEST.encode())])
        await self.write(self.node.counts.text(), is_last=True)


async def _is_up(question: Awaitable[object]) -> bool:
    try:
        async with asyncio.timeout(_PROBE_WITHIN_S):
            await question
    except (Temporary, *LIVE_LOG_ERRORS):
        return False
    return True
