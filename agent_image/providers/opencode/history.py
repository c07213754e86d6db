"""The session's messages: what earlier turns saved becomes a file that the CLI imports; what is new is saved.

A stored entry is the session's own description (path `session`) or a message with its parts (path `messages`); of
several with one id the last counts, for a message grows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agent_image.providers.opencode.loopback import Loopback
from agent_image.providers.transcript import pack, unpack
from agent_image.runner.turn import Session, TurnEvents


class History:
    """What of one session is stored."""

    def __init__(self, session: Session | None, events: TurnEvents) -> None:
        self._session = session
        self._events = events
        self._saved: dict[str, str] = {}

    def write_export(self, folder: Path) -> Path | None:
        """Write what earlier turns saved as the CLI exports it; None when there is nothing to resume."""
        if self._session is None:
            return None
        stored = unpack(self._session.entries)
        messages: dict[str, dict[str, Any]] = {}
        for message in stored.get("messages", ()):
            messages[str((message.get("info") or {}).get("id"))] = message
        descriptions = stored.get("session")
        if not descriptions or not messages:
            return None
        path = folder / "session.json"
        in_order = [messages[key] for key in sorted(messages)]  # its ids sort by time
        path.write_text(json.dumps({"info": descriptions[-1], "messages": in_order}), encoding="utf-8")
        return path

    async def save(self, server: Loopback, session_id: str, message_ids: list[str]) -> None:
        """Save the session and these messages, where they are not what was saved before."""
        if not self._saved and self._session is None:
            await self._save_one("session", session_id, await server.call("GET", f"/session/{session_id}"))
        for message_id in message_ids:
            message = await server.call("GET", f"/session/{session_id}/message/{message_id}")
            await self._save_one("messages", session_id, message, key=message_id)

    async def _save_one(self, path: str, session_id: str, entry: Any, *, key: str = "") -> None:
        encoded = json.dumps(entry)
        if self._saved.get(key) == encoded or not isinstance(entry, dict):
            return
        self._saved[key] = encoded
        for batch in pack(path, [entry]):
            await self._events.session_saved(session_id, batch)
