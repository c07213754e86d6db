"""The session store: what the CLI writes to its transcript goes to the gateway, and comes back in a later turn.

Shape of a stored entry: `{"path": "", "entry": {…}}`, where `path` is empty for the main transcript and names
a sub-agent's otherwise. An entry that is too long for one frame is stored as text in pieces:
`{"path": "", "piece": "…", "is_last": false}`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from agent_image.runner.turn import Session, TurnEvents

FRAME_CHARS = 150_000  # escaped and in UTF-8 at most six times as many bytes, still below a frame's limit


def pack(path: str, entries: Iterable[Mapping[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Wrap transcript entries into batches, each small enough for one frame."""
    batch: list[dict[str, Any]] = []
    size = 0
    for entry in entries:
        encoded = json.dumps(entry, ensure_ascii=False)
        for wrapped in _wrap(path, dict(entry), encoded):
            length = len(wrapped.get("piece") or encoded)
            if batch and size + length > FRAME_CHARS:
                yield batch
                batch, size = [], 0
            batch.append(wrapped)
            size += length
    if batch:
        yield batch


def _wrap(path: str, entry: dict[str, Any], encoded: str) -> Iterator[dict[str, Any]]:
    if len(encoded) <= FRAME_CHARS:
        yield {"path": path, "entry": entry}
        return
    for start in range(0, len(encoded), FRAME_CHARS):
        end = start + FRAME_CHARS
        yield {"path": path, "piece": encoded[start:end], "is_last": end >= len(encoded)}


def unpack(stored: Iterable[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the transcript entries by path. A repeat, known by its uuid, is left out."""
    transcripts: dict[str, list[dict[str, Any]]] = {}
    pieces: dict[str, list[str]] = {}
    seen: set[tuple[str, str]] = set()
    for wrapped in stored:
        path = wrapped.get("path", "")
        entry = wrapped.get("entry")
        if "piece" in wrapped:
            pieces.setdefault(path, []).append(wrapped["piece"])
            if not wrapped.get("is_last"):
                continue
            entry = json.loads("".join(pieces.pop(path)))
        if not isinstance(entry, dict):
            continue
        key = (path, entry.get("uuid") or "")
        if key[1] and key in seen:
            continue
        seen.add(key)
        transcripts.setdefault(path, []).append(entry)
    return transcripts


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
