"""Events as they come: reading server-sent events, what an event is, and a text that is still being written. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

RESYNC = "resync"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `seq` counts the durable ones of a stream; live ones (`text.delta`, …) have none.

    A live text that `is_whole` replaces what was said of it before: its reader came back in the middle of it.
    `resync`, with `oldest` in its data, says that what came before is not kept any more. Unknown types may appear.
    """

    stream: str
    type: str
    seq: int | None = None
    at: str = ""
    task_id: str | None = None
    turn: int | None = None
    is_whole: bool = False
    data: Mapping[str, Any] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, raw: Mapping[str, Any], stream: str) -> Event:
        """Read an envelope, or the server's word that a stream begins later than asked for."""
        if raw.get("op") == RESYNC:
            return cls(stream, RESYNC, data={"oldest": raw["oldest"]}, raw=raw)
        return cls(
            stream=raw["stream"], type=raw["type"], seq=raw.get("seq"), at=raw.get("at", ""),
            task_id=raw.get("task_id"), turn=raw.get("turn"), is_whole=raw.get("is_whole") is True,
            data=raw.get("data") or {}, raw=raw,
        )  # fmt: skip


class EventReader:
    """Turns the bytes of a stream into what each event says. What is cut off in its middle is never given.

    Source: the HTML standard, section 9.2.6. Bytes are split before they are decoded: a line separator of Unicode
    within a text is no end of a line here.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[dict[str, Any]]:
        """Yield the events that end in these bytes."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            text = line.removesuffix(b"\r").decode()
            if not text:
                if self._data:
                    yield json.loads("\n".join(self._data))
                self._data = []
            elif text.startswith("data:"):
                self._data.append(text[5:].removeprefix(" "))


class LiveTexts:
    """The texts that are being written: answers, reasoning, what tools print. `add` returns what is new to show.

    What was shown live comes again as a whole, in a durable event or after a reconnect, and is not shown twice.
    """

    def __init__(self) -> None:
        self._shown: dict[tuple[str, str], str] = {}

    def add(self, event: Event) -> str:
        """Return what this event adds to its text; empty for what is shown already, and for what is no text."""
        call_id = str(event.data.get("call_id", ""))
        match event.type:
            case "text.delta" | "reasoning.delta" | "tool.output":
                return self._live((event.type, call_id), str(event.data.get("text", "")), event.is_whole)
            case "message.created" if event.data.get("role") == "assistant":
                return self._settled(("text.delta", ""), str(event.data.get("text", "")))
            case "tool.returned":
                return self._settled(("tool.output", call_id), str(event.data.get("output", "")))
        return ""

    def _live(self, key: tuple[str, str], said: str, is_whole: bool) -> str:
        shown = self._shown.get(key, "")
        new = _beyond(shown, said) if is_whole else said
        self._shown[key] = said if is_whole else shown + said
        return new

    def _settled(self, key: tuple[str, str], whole: str) -> str:
        return _beyond(self._shown.pop(key, ""), whole)


def _beyond(shown: str, whole: str) -> str:
    """Return what a text has beyond what is shown of it; what is shown may lack the beginning, or parts."""
    if whole.startswith(shown):
        return whole[len(shown) :]
    return "" if whole.endswith(shown) or shown.endswith(whole) else f"\n{whole}"
