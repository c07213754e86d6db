"""Leaves an engine that does not answer alone for a while: each start that it refuses would cost a task a try."""

from __future__ import annotations

import threading
import time

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 15.0


class EngineRest:
    """Counts how long this host's engine is left alone; twice as long each time, until it answers again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pause_s = FIRST_PAUSE_S
        self._until = 0.0

    @property
    def left_s(self) -> float:
        """Return for how many seconds more nothing is to be started; 0 when something may be."""
        with self._lock:
            return max(0.0, self._until - time.monotonic())

    def note_away(self) -> float:
        """Note that the engine did not answer, and return the seconds to wait; who fails meanwhile waits no longer."""
        with self._lock:
            moment = time.monotonic()
            if self._until <= moment:
                self._until = moment + self._pause_s
                self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
            return self._until - moment

    def note_answer(self) -> None:
        """Note that the engine has started something."""
        with self._lock:
            self._pause_s, self._until = FIRST_PAUSE_S, 0.0
