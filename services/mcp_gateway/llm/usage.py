"""Reading what a call used from the vendor's answer, also while it is still coming."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from services.domain.llm.rates import Tokens

_MAX_LINE_BYTES = 4 * 1024**2
_COUNTED = (b'"message_start"', b'"message_delta"')
BYTES_PER_TOKEN = 3
_COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_WRITES_1H = "ephemeral_1h_input_tokens"


def read_usage(body: bytes) -> Tokens | None:
    """Return what a whole answer says it used, or None when it does not say."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None
    usage = message.get("usage") if isinstance(message, dict) else None
    if not isinstance(usage, dict):
        return None
    return _tokens(_known(usage))


class LineReader:
    """Cuts a stream of server-sent events into lines, wherever its bytes are cut."""

    def __init__(self) -> None:
        self._line = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes, cut anywhere."""
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._line += line
            self.read_line(bytes(self._line))
            self._line.clear()
        if len(self._line) + len(rest) <= _MAX_LINE_BYTES:
            self._line += rest

    def read_line(self, line: bytes) -> None:
        """Take one line."""
        raise NotImplementedError


class StreamMeter(LineReader):
    """Follows a stream of server-sent events; what it knows is right at any moment, however the stream ends."""

    def __init__(self) -> None:
        super().__init__()
        self._usage: dict[str, int] = {}
        self._delta_bytes = 0
        self._has_final = False

    @property
    def tokens(self) -> Tokens | None:
        """Return what was used so far, None before the stream's first event.

        The vendor says at the end how much it wrote; of a stream that breaks off, what came is measured.
        """
        if not self._usage:
            return None
        used = _tokens(self._usage)
        if self._has_final:
            return used
        output = max(used.output, math.ceil(self._delta_bytes / BYTES_PER_TOKEN))
        return Tokens(used.fresh, output, used.cache_read, used.cache_write_5m, used.cache_write_1h)

    def read_line(self, line: bytes) -> None:
        """Take one line."""
        if not line.startswith(b"data:"):
            return
        if b'"content_block_delta"' in line:
            self._delta_bytes += len(_delta_text(line))
        elif any(name in line for name in _COUNTED):
            self._read_event(line[5:])

    def _read_event(self, text: bytes) -> None:
        try:
            event = json.loads(text)
        except (ValueError, RecursionError):
            return
        if not isinstance(event, dict):
            return
        holder = event.get("message") if event.get("type") == "message_start" else event
        usage = holder.get("usage") if isinstance(holder, dict) else None
        if isinstance(usage, dict):
            self._usage |= _known(usage)
            self._has_final = event.get("type") == "message_delta"


def _delta_text(line: bytes) -> str:
    try:
        delta = json.loads(line[5:])["delta"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return ""
    if not isinstance(delta, dict):
        return ""
    return "".join(
        str(value) for name, value in delta.items() if name in ("text", "thinking", "partial_json")
    )


def _known(usage: Mapping[str, Any]) -> dict[str, int]:
    """Return the counts that are there; later ones replace earlier ones, those left out stay."""
    found = {name: usage[name] for name in _COUNTS if is_count(usage.get(name))}
    written = usage.get("cache_creation")
    if isinstance(written, dict) and is_count(written.get(_WRITES_1H)):
        found[_WRITES_1H] = written[_WRITES_1H]
    return found


def is_count(value: Any) -> bool:
    """Say whether a value can be a number of tokens."""
    return type(value) is int and 0 <= value <= 10**12


def _tokens(usage: Mapping[str, int]) -> Tokens:
    written = usage.get("cache_creation_input_tokens", 0)
    for_an_hour = min(usage.get(_WRITES_1H, 0), written)
    return Tokens(
        fresh=usage.get("input_tokens", 0),
        output=usage.get("output_tokens", 0),
        cache_read=usage.get("cache_read_input_tokens", 0),
        cache_write_5m=written - for_an_hour,
        cache_write_1h=for_an_hour,
    )
