"""All that one process of this service holds, made when it starts and handed to every connection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from services.kit.environment import environment
from services.realtime.access import Arrival, Visitor, all_tenants_admit
from services.realtime.counts import Counts
from services.realtime.forward import Forwarder
from services.realtime.hub import Hub
from services.realtime.livelog import LiveLog
from services.realtime.outlet import BoundedOutlet
from services.realtime.queues import QueueStore
from services.realtime.rows import Rows
from services.realtime.watch import Watch


@dataclass(frozen=True, slots=True)
class Pace:
    """The node's times and bounds."""

    sweep_every_s: float = 1.0
    recheck_every_s: float = 30.0
    keepalive_s: float = 15.0
    queue_entries: int = 1_024
    queue_bytes: int = 16 * 1024 * 1024
    poll_heartbeat_s: int = 50
    poll_idle_timeout_s: int = 600
    streams_per_connection: int = 100


class Node:
    """The hub and what stands around it. Made inside the event loop that it then belongs to."""

    def __init__(self, pace: Pace, *, api_url: str | None = None) -> None:
        redis_url = environment().redis_url.get_secret_value()
        self.pace = pace
        self.counts = Counts()
        self.rows = Rows()
        self.live_log = LiveLog(redis_url)
        self.hub = Hub(self.rows, self.live_log, self.counts, sweep_every_s=pace.sweep_every_s)
        self.watch = Watch(self.rows, self.hub, redis_url=redis_url, every_s=pace.recheck_every_s)
        self.queues = QueueStore(redis_url, ttl_s=pace.poll_idle_timeout_s)
        self.forwarder = Forwarder(api_url)

    @classmethod
    def of_scope(cls, scope: Mapping[str, Any]) -> Node:
        """Return the node that serves this connection."""
        return cast("Node", scope["state"]["node"])

    def start(self) -> None:
        """Start what runs in the background."""
        self.hub.start()
        self.watch.start()

    async def stop(self) -> None:
        """Stop and close everything."""
        await self.watch.stop()
        await self.hub.stop()
        await self.forwarder.close()
        await self.queues.close()
        await self.live_log.close()
        self.rows.close()

    async def admit(self, scope: Mapping[str, Any]) -> Visitor:
        """Let somebody in, or not. Raises: what `all_tenants_admit` raises."""
        arrival = Arrival.of_scope(scope)
        return await self.rows.run(lambda: all_tenants_admit(arrival))

    def new_outlet(self) -> BoundedOutlet:
        """Make the queue of one connection."""
        return BoundedOutlet(max_entries=self.pace.queue_entries, max_bytes=self.pace.queue_bytes)
