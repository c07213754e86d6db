"""Reading what a call used from the vendor's answer, also while it is still coming."""

from __future__ import annotations

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from services.domain.llm.rates import Tokens

_MAX_LINE_BYTES = 4 * 1024**2
# The texts of deltas as they are written in JSON; a text never reaches beyond its line.
_DELTA_TEXT = re.compile(rb'"(?:text|thinking|partial_json)"\s*:\s*"([^"\\\n]*(?:\\.[^"\\\n]*)*)"')
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


class LineReader(ABC):
    """Cuts a stream of server-sent events into whole lines, wherever its bytes are cut, many at a time."""

    failures: tuple[bytes, ...] = (b"event: error",)
    """What the line begins with by which the vendor says that it failed."""

    def __init__(self) -> None:
        self._rest = b""
        self._skips = False
        self.has_failed = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes, cut anywhere."""
        end = chunk.rfind(b"\n") + 1
        if not end:
            if len(self._rest) + len(chunk) > _MAX_LINE_BYTES:
                # Nothing that is counted has a line like this.
                self._rest, self._skips = b"", True
            elif not self._skips:
                self._rest += chunk
            return
        if self._skips:
            start = chunk.find(b"\n") + 1
            self._skips = False
            block = chunk[start:end]
        else:
            block = self._rest + chunk[:end] if self._rest else chunk[:end]
        self._rest = chunk[end:]
        if block:
            # A text's own line breaks are escaped, so that this is never found within one.
            if any(block.startswith(line) or b"\n" + line in block for line in self.failures):
                self.has_failed = True
            self.read_lines(block)

    @abstractmethod
    def read_lines(self, block: bytes) -> None:
        """Take some whole lines."""


class StreamMeter(LineReader):
    """Follows a stream of server-sent events; what it knows is right at any moment, however the stream ends.

    Most of a stream is deltas, and of those only the length is counted, in one sweep over all that came at once.
    """

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

    def read_lines(self, block: bytes) -> None:
        """Take some whole lines."""
        self._delta_bytes += sum(map(len, _DELTA_TEXT.findall(block)))
        if any(name in block for name in _COUNTED):
            for line in block.split(b"\n"):
                is_counted = line.startswith(b"data:") and any(name in line for name in _COUNTED)
                if is_counted and b'"content_block_delta"' not in line:
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
