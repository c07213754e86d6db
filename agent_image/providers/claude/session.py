"""The session store: what the CLI writes to its transcript goes to the gateway, and comes back in a later turn."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from agent_image.providers.transcript import pack, unpack
from agent_image.runner.turn import Session, TurnEvents


class SessionLog:
    """The SDK's `SessionStore`, for one turn: loads what the turn brought, sends on what is appended.

    The SDK gives up on an append after a minute; so an append only queues here, and `pump` waits for the gateway.
    """

    def __init__(self, session: Session | None, events: TurnEvents) -> None:
        self._events = events
        self._transcripts = unpack(session.entries) if session else {}
        self._waiting: asyncio.Queue[tuple[str, list[dict[str, Any]]]] = asyncio.Queue()

    async def append(self, key: Mapping[str, Any], entries: list[Any]) -> None:
        for batch in pack(key.get("subpath") or "", entries):
            self._waiting.put_nowait((key["session_id"], batch))

    async def load(self, key: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        return self._transcripts.get(key.get("subpath") or "")

    async def list_subkeys(self, key: Mapping[str, Any]) -> list[str]:
        return [path for path in self._transcripts if path]

    async def pump(self) -> None:
        """Send what is appended, until cancelled."""
        while True:
            session_id, batch = await self._waiting.get()
            await self._events.session_saved(session_id, batch)
            self._waiting.task_done()

    async def flushed(self) -> None:
        """Wait until all that was appended has been sent."""
        await self._waiting.join()
