"""Kills one thing at a time, at random, from a thread."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence


class Saboteur:
    """Kills from its making until it is stopped; `kills` counts them by victim. The supervisor brings each back.

    A victim that is not `is_back` since the last time is left alone: killed while it starts, it would never work.
    """

    def __init__(
        self,
        kill: Callable[[str], object],
        victims: Sequence[str],
        *,
        every_s: float,
        seed: int,
        is_back: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._kill, self._victims, self._every_s, self._is_back = kill, victims, every_s, is_back
        self._random = random.Random(seed)
        self._stopping = threading.Event()
        self.kills: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Kill no more."""
        self._stopping.set()
        self._thread.join(40)

    def summary(self) -> str:
        """Return how often what was killed."""
        return ", ".join(f"{count} × {name}" for name, count in sorted(self.kills.items()))

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            victim = self._random.choice(self._victims)
            try:
                if not self._is_back(victim):
                    continue
                self._kill(victim)
            except (AssertionError, OSError, subprocess.CalledProcessError) as error:
                print(f"not killed: {victim}: {error}", file=sys.stderr)
                continue
            self.kills[victim] += 1
