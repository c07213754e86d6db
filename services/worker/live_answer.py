"""What an agent has said of its answer so far: the messages that are whole, and the one that is being said. Pure.

It takes the envelopes of a workspace's stream, durable and live, in the order in which they were published: the same
from which people's clients make the text so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST_CHARS = 100_000


class LiveAnswer:
    """One task's answer. `said` are the whole messages that are known, the last of them the event `seq`."""

    def __init__(self, task_id: str, said: Sequence[str] = (), seq: int = 0) -> None:
        self._task_id = task_id
        self._said = list(said)
        self._seq = seq
        self._live = ""
        self.is_over = False

    def take(self, envelope: Mapping[str, Any]) -> None:
        """Take the next envelope; one of another task, or malformed, is passed over."""
        kind, data = envelope.get("type"), envelope.get("data")
        if envelope.get("task_id") != self._task_id or not isinstance(data, Mapping):
            return
        seq = envelope.get("seq")
        if kind == "text.delta":
            self._live = (self._live + str(data.get("text", "")))[:MOST_CHARS]
        elif kind == "message.created" and data.get("role") == "assistant":
            self._live = ""
            if isinstance(seq, int) and seq > self._seq:
                self._said.append(str(data.get("text", "")))
                self._seq = seq
        elif kind == "turn.started" and isinstance(seq, int) and seq > self._seq:
            self._said, self._live = [], ""
        elif kind == "task.finished":
            self.is_over = True

    def text(self) -> str:
        """Return all that was said so far, as Markdown."""
        return "\n\n".join(part for part in (*self._said, self._live) if part.strip())[:MOST_CHARS]
