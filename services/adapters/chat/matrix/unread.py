"""Messages whose key is not there yet, until it comes: keys may come later than what they open. Pure."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any, Self

_MOST_SESSIONS, _MOST_EVENTS = 100, 50
# A client sends the key before the message; one that is this late has lost it, or does not trust the bot.
OVERDUE_S = 20.0
_FORGET_S = 7 * 86_400.0


class Unread:
    """What waits, by the session whose key is missing. `is_changed` says that it is to be kept anew."""

    def __init__(self, waiting: dict[str, dict[str, Any]]) -> None:
        self._waiting = waiting
        self.is_changed = False

    @classmethod
    def restored(cls, state: Any) -> Self:
        """Return what waited when `state` was kept."""
        return cls(dict(state) if isinstance(state, dict) else {})

    def state(self) -> dict[str, Any]:
        """Return what waits as JSON."""
        self.is_changed = False
        return {session_id: dict(entry) for session_id, entry in self._waiting.items()}

    def add(self, session_id: str, room_id: str, event_id: str) -> None:
        """Note a message that waits for a session's key."""
        new = {"room_id": room_id, "events": [], "at": time.time(), "is_told": False}
        entry = self._waiting.setdefault(session_id, new)
        if entry["room_id"] == room_id and event_id not in entry["events"]:
            entry["events"] = [*entry["events"], event_id][-_MOST_EVENTS:]
        for old in list(self._waiting)[:-_MOST_SESSIONS]:
            del self._waiting[old]
        self.is_changed = True

    def sessions(self) -> set[str]:
        """Return the sessions whose key is missing."""
        return set(self._waiting)

    def of(self, came: Collection[str]) -> list[tuple[str, str, str]]:
        """Return what waits for these sessions: session, room and message, in the order in which they were added."""
        return [
            (session_id, entry["room_id"], event_id)
            for session_id, entry in self._waiting.items()
            if session_id in came
            for event_id in entry["events"]
        ]

    def remove(self, session_id: str, event_id: str) -> None:
        """Note that a message waits no more."""
        entry = self._waiting[session_id]
        entry["events"] = [waiting for waiting in entry["events"] if waiting != event_id]
        if not entry["events"]:
            del self._waiting[session_id]
        self.is_changed = True

    def overdue(self) -> list[tuple[str, str]]:
        """Return the sessions, with their rooms, whose key is not to be expected any more; each once."""
        moment, found = time.time(), []
        for session_id, entry in list(self._waiting.items()):
            if not entry["is_told"] and moment - entry["at"] > OVERDUE_S:
                entry["is_told"] = self.is_changed = True
                found.append((session_id, entry["room_id"]))
            if moment - entry["at"] > _FORGET_S:
                del self._waiting[session_id]
        return found
