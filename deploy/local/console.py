"""What the front door prints: one line for each step, with the time it took."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Step:
    """A step at work; `note` is what its line says in the end."""

    note: str = ""
    started: float = field(default_factory=time.monotonic)


class Console:
    """Prints steps, coloured and rewritten in place on a terminal, plain otherwise."""

    def __init__(self, *, is_quiet: bool = False) -> None:
        self._is_quiet = is_quiet
        self._is_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"

    def paint(self, text: str, code: str) -> str:
        """Return the text in a terminal colour, or as it is where there is no terminal."""
        has_colour = self._is_terminal and "NO_COLOR" not in os.environ
        return f"\x1b[{code}m{text}\x1b[0m" if has_colour else text

    def say(self, text: str = "") -> None:
        """Print one line."""
        if not self._is_quiet:
            print(text, flush=True)

    def heading(self, text: str) -> None:
        """Print a line that opens a part of the output."""
        self.say(self.paint(text, "1"))

    @contextmanager
    def step(self, name: str, *, is_long: bool = False) -> Iterator[Step]:
        """Show a step: its name when it begins (on a terminal, or when it is long), its result and time."""
        at_work = Step()
        if self._is_terminal and not self._is_quiet:
            print(f"  {self.paint('·', '33')} {name} …", end="", flush=True)
        elif is_long:
            self.say(f"  · {name} …")
        try:
            yield at_work
        except BaseException:
            self._close(self.paint("✗", "31"), name, at_work)
            raise
        self._close(self.paint("✓", "32"), name, at_work)

    def _close(self, mark: str, name: str, step: Step) -> None:
        elapsed = f"{time.monotonic() - step.started:6.1f} s"
        start = "\r\x1b[K" if self._is_terminal else ""
        self.say(f"{start}  {mark} {name:<22}{self.paint(elapsed, '2')}  {step.note}".rstrip())
