"""A bot's sessions at the gateway, one for each shard: where each is resumed, kept together as the listener's state."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from services.domain.ports.chat import Parsed
from services.domain.ports.chat_abilities import Inbox

# One of a bot's shards may begin a session in this time; more at once only bots that Discord has made very large.
# Source: https://docs.discord.com/developers/events/gateway#sharding-max-concurrency
BEGIN_EVERY_S = 5.0


@dataclass(slots=True)
class Session:
    """One shard's. Without an id there is nothing to resume, and a new one begins.

    `is_behind` says that one before it was lost, and what was said meanwhile is not all asked for yet.
    """

    id: str = ""
    url: str = ""
    seq: int | None = None
    is_behind: bool = False


class Sessions:
    """The sessions of all shards, which keep what they hear from threads of their own."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._lock, self._begin_lock = threading.Lock(), threading.Lock()
        self._begin_at = 0.0
        known = inbox.load_state().get("sessions")
        self.all = [_read(one) for one in known] if isinstance(known, list) else []

    def share(self, count: int) -> None:
        """Share the bot's servers among this many new sessions."""
        self.all = [Session() for _ in range(count)]

    def keep(self, parsed: Parsed) -> None:
        """Keep what came, and where to resume."""
        with self._lock:
            is_any = any(session.id for session in self.all)
            state = {"sessions": [asdict(session) for session in self.all]} if is_any else {}
            self._inbox.keep(parsed, state)

    def lose(self, number: int) -> None:
        """Forget a session that cannot be resumed."""
        self.all[number] = Session()
        self.keep(Parsed())

    def lose_all(self) -> None:
        """Forget all, so that Discord is asked anew how many there are to be."""
        for number in range(len(self.all)):
            self.all[number] = Session()
        self.keep(Parsed())

    def wait_to_begin(self) -> None:
        """Wait until another session may begin."""
        with self._begin_lock:
            self._inbox.wait(max(0.0, self._begin_at - time.monotonic()))
            self._begin_at = time.monotonic() + BEGIN_EVERY_S


def _read(known: Mapping[str, Any]) -> Session:
    match known:
        case {"id": str(session_id), "url": str(url), "seq": int(seq), "is_behind": bool(is_behind)}:
            return Session(session_id, url, seq, is_behind)
    return Session()
