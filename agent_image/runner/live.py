"""Turns a stream of output into live chunks at a rate that a person's screen and the gateway can take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agent_image.runner.text import note_of_cut

INTERVAL_S = 0.05
CHUNK_CHARS = (
    16_000  # of each interval; a command that prints faster than 320,000 characters a second is cut live
)


class LiveOutput:
    """Sends the first output at once, and then one chunk for each interval: the newest of what came in."""

    def __init__(self, send: Callable[[str], None]) -> None:
        self._send = send
        self._waiting: list[str] = []
        self._waiting_chars = 0
        self._skipped = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, text: str) -> None:
        self._waiting.append(text)
        self._waiting_chars += len(text)
        if self._waiting_chars > 8 * CHUNK_CHARS:
            self._shrink()
        if self._timer is None:
            self._send_waiting()
            self._timer = asyncio.get_running_loop().call_later(INTERVAL_S, self._on_interval)

    def flush(self) -> None:
        """Send what is left; nothing more may be added."""
        if self._timer is not None:
            self._timer.cancel()
        self._send_waiting()

    def _on_interval(self) -> None:
        self._timer = None
        if self._waiting:
            self._send_waiting()
            self._timer = asyncio.get_running_loop().call_later(INTERVAL_S, self._on_interval)

    def _shrink(self) -> None:
        joined = "".join(self._waiting)
        kept = joined[-CHUNK_CHARS:]
        self._skipped += len(joined) - len(kept)
        self._waiting, self._waiting_chars = [kept], len(kept)

    def _send_waiting(self) -> None:
        self._shrink()
        note = note_of_cut(self._skipped) if self._skipped else ""
        chunk = note + "".join(self._waiting)
        self._waiting, self._waiting_chars, self._skipped = [], 0, 0
        if chunk:
            self._send(chunk)
