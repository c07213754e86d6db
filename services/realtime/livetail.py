"""What was said live and has not come whole yet: whoever joins in the middle of it gets it, then what follows.

Pure, like `feed`: it takes the entries of one stream in the order in which they were made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.realtime.entry import Entry, serialise

MOST_CHARS = 200_000
"""Of one text. Beyond that its beginning is left out, and the entry says so."""
MOST_TEXTS = 32
_KEPT = {"text.delta": "", "reasoning.delta": "", "tool.output": "call_id", "command.output": "command_id"}
"""The live types that add up to a text, by the field of `data` that tells apart several at once."""
_ENDS_ALL = frozenset({"turn.started", "turn.done", "task.finished"})

_Key = tuple[str, str]


@dataclass
class _Text:
    """One text that is still being said."""

    envelope: Mapping[str, Any]
    pieces: list[str] = field(default_factory=list)
    chars: int = 0
    is_cut: bool = False

    def add(self, text: str) -> None:
        self.pieces.append(text)
        self.chars += len(text)
        if self.chars > 2 * MOST_CHARS:
            whole = "".join(self.pieces)[-MOST_CHARS:]
            self.pieces, self.chars, self.is_cut = [whole], len(whole), True

    def whole(self) -> str:
        return "".join(self.pieces)


class LiveTail:
    """Adds up the live texts of one stream until the durable event comes that holds them."""

    def __init__(self) -> None:
        self._texts: dict[_Key, _Text] = {}

    def take(self, envelope: Mapping[str, Any]) -> None:
        """Take the next envelope of the stream, durable or live; anything malformed is passed over."""
        kind, data = envelope.get("type"), envelope.get("data")
        if not isinstance(kind, str) or not isinstance(data, Mapping):
            return
        if "seq" in envelope:
            self._settle(kind, data)
        elif kind in _KEPT and isinstance(data.get("text"), str):
            self._add(kind, data, envelope)

    def texts(self, *, after: int, part: int) -> list[Entry]:
        """Return each text so far as one live entry whose text is whole, at a place in the stream; in their order.

        The last one has the number of the live entry that was given out last, so that what follows is news.
        """
        first = part - len(self._texts) + 1
        return [
            self._entry(text, after=after, part=first + index)
            for index, text in enumerate(self._texts.values())
        ]

    def _entry(self, text: _Text, *, after: int, part: int) -> Entry:
        said = {**text.envelope["data"], "text": text.whole()}
        body = {**text.envelope, "after": after, "part": part, "is_whole": True, "data": said}
        if text.is_cut:
            body["is_cut"] = True
        return Entry(serialise(body), after=after, part=part)

    def _add(self, kind: str, data: Mapping[str, Any], envelope: Mapping[str, Any]) -> None:
        key = (kind, str(data.get(_KEPT[kind], "")) if _KEPT[kind] else "")
        if key not in self._texts:
            if len(self._texts) >= MOST_TEXTS:
                del self._texts[next(iter(self._texts))]
            self._texts[key] = _Text(envelope)
        self._texts[key].add(data["text"])

    def _settle(self, kind: str, data: Mapping[str, Any]) -> None:
        if kind in _ENDS_ALL:
            self._drop(key for key in self._texts if key[0] != "command.output")
        elif kind == "message.created" and data.get("role") == "assistant":
            self._drop([("text.delta", ""), ("reasoning.delta", "")])
        elif kind == "tool.called":
            self._drop([("reasoning.delta", "")])
        elif kind == "tool.returned":
            self._drop([("tool.output", str(data.get("call_id", "")))])
        elif kind == "command.finished":
            self._drop([("command.output", str(data.get("command_id", "")))])

    def _drop(self, keys: Iterable[_Key]) -> None:
        for key in list(keys):
            self._texts.pop(key, None)
