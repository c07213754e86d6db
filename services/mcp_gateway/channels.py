"""Channels to runners: connections of their own beside the link, asked for here, dialled by the runner.

Source: docs/link.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect

from services.domain.errors import SandboxBusy, SandboxUnreachable

DIAL_S = 10.0
MAX_OF_SANDBOX = 48

NOT_AWAITED = 4404


class Sender(Protocol):
    """The link that a channel is asked for on."""

    sandbox_id: uuid.UUID
    ready: asyncio.Event

    async def send(self, frame: dict[str, Any]) -> None:
        """Send one frame to the runner."""


@dataclass
class _Awaited:
    """A channel between its order and its end."""

    sandbox_id: uuid.UUID
    dialled: asyncio.Future[WebSocket]
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Channels:
    """The channels of this host's sandboxes that are open, or on their way."""

    def __init__(self) -> None:
        self._awaited: dict[uuid.UUID, _Awaited] = {}
        self._of_sandbox: Counter[uuid.UUID] = Counter()

    @property
    def sandboxes(self) -> set[uuid.UUID]:
        """Return the sandboxes that somebody has a channel to."""
        return {sandbox_id for sandbox_id, count in self._of_sandbox.items() if count > 0}

    def __len__(self) -> int:
        return len(self._awaited)

    @contextlib.asynccontextmanager
    async def opened(self, link: Sender, kind: str, params: dict[str, Any]) -> AsyncIterator[WebSocket]:
        """Open a channel, and close it at the end. Raises: SandboxUnreachable, SandboxBusy."""
        if self._of_sandbox[link.sandbox_id] >= MAX_OF_SANDBOX:
            raise SandboxBusy("The sandbox has too many channels open.", retry_after_s=2)
        channel_id = uuid.uuid4()
        awaited = _Awaited(link.sandbox_id, asyncio.get_running_loop().create_future())
        self._awaited[channel_id] = awaited
        self._of_sandbox[link.sandbox_id] += 1
        try:
            yield await _dialled(link, awaited, channel_id, kind, params)
        finally:
            del self._awaited[channel_id]
            self._of_sandbox[link.sandbox_id] -= 1
            if not self._of_sandbox[link.sandbox_id]:
                del self._of_sandbox[link.sandbox_id]
            awaited.ended.set()

    async def serve(self, websocket: WebSocket, sandbox_id: uuid.UUID, channel_id: uuid.UUID) -> None:
        """Hand a runner's connection to whoever waits for it; one that nobody asked this sandbox for is refused."""
        awaited = self._awaited.get(channel_id)
        if awaited is None or awaited.sandbox_id != sandbox_id or awaited.dialled.done():
            await websocket.close(NOT_AWAITED)
            return
        await websocket.accept()
        if not awaited.dialled.done():
            awaited.dialled.set_result(websocket)
            await awaited.ended.wait()
        with contextlib.suppress(RuntimeError, WebSocketDisconnect, OSError):
            await websocket.close()


async def _dialled(
    link: Sender, awaited: _Awaited, channel_id: uuid.UUID, kind: str, params: dict[str, Any]
) -> WebSocket:
    order = {"op": "open", "channel": str(channel_id), "kind": kind, "params": params}
    try:
        async with asyncio.timeout(DIAL_S):
            await link.ready.wait()
            await link.send(order)
            return await awaited.dialled
    except (TimeoutError, RuntimeError, WebSocketDisconnect, OSError) as error:
        raise SandboxUnreachable("The sandbox does not answer.", retry_after_s=2) from error
