"""Rounds of work of which one at a time is enough: who comes while one runs makes it look once more."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Rounds:
    """Runs a round for whoever asks, in one thread at a time; nobody's wish is lost between two rounds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wishes = 0
        self._is_running = False

    def run(self, work: Callable[[], None]) -> None:
        """Do the work now, or have the thread that is at it do its own work once more after this moment."""
        with self._lock:
            self._wishes += 1
            if self._is_running:
                return
            self._is_running = True
        try:
            while True:
                with self._lock:
                    seen = self._wishes
                work()
                with self._lock:
                    if seen == self._wishes:
                        self._is_running = False
                        return
        except BaseException:
            with self._lock:
                self._is_running = False
            raise
