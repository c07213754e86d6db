"""Reading what a call used from the answers of the OpenAI API, also while they are still coming."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from services.domain.llm.rates import Tokens
from services.mcp_gateway.llm.usage import BYTES_PER_TOKEN, LineReader, is_count

# What the two APIs call the same counts.
_INPUT, _OUTPUT = ("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens")
_DETAILS = ("input_tokens_details", "prompt_tokens_details")
_LAST = (b'"response.completed"', b'"response.incomplete"', b'"response.failed"')
# An answer's usage is an object; in every other event of the stream it is null.
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
# The texts of deltas as they are written in JSON, of either API; a text never reaches beyond its line.
_DELTA_TEXT = re.compile(
    rb'"(?:delta|content|reasoning_content|arguments)"\s*:\s*"([^"\\\n]*(?:\\.[^"\\\n]*)*)"'
)


def read_openai_usage(body: bytes) -> Tokens | None:
    """Return what a whole answer says it used, or None when it does not say."""
    return _tokens_in(_parse(body))


class OpenaiMeter(LineReader):
    """Follows a stream of either API; what it knows is right at any moment, however the stream ends.

    The vendor says only at the end what was used. Of a stream that breaks off before, what came is measured, and the
    input is what was estimated.
    """

    failures = (b"event: error", b"event: response.failed", b'data: {"error"')

    def __init__(self, estimate: Tokens) -> None:
        super().__init__()
        self._estimate = estimate
        self._used: Tokens | None = None
        self._delta_bytes = 0
        self._has_begun = False

    @property
    def tokens(self) -> Tokens | None:
        """Return what was used so far, None before the stream's first event."""
        if self._used is not None or not self._has_begun:
            return self._used
        return Tokens(fresh=self._estimate.input, output=math.ceil(self._delta_bytes / BYTES_PER_TOKEN))

    def read_lines(self, block: bytes) -> None:
        """Take some whole lines."""
        self._has_begun = self._has_begun or b"data:" in block
        self._delta_bytes += sum(map(len, _DELTA_TEXT.findall(block)))
        if _USAGE.search(block) is None:
            return
        for line in block.split(b"\n"):
            if line.startswith(b"data:") and _USAGE.search(line) is not None:
                event = _parse(line[5:])
                is_last = any(name in line for name in _LAST)
                self._used = _tokens_in(event.get("response") if is_last else event) or self._used


def _parse(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _tokens_in(answer: Any) -> Tokens | None:
    usage = answer.get("usage") if isinstance(answer, dict) else None
    if not isinstance(usage, dict):
        return None
    given, made = _count(usage, _INPUT), _count(usage, _OUTPUT)
    if given is None or made is None:
        return None
    found: list[dict[str, Any]] = [usage[name] for name in _DETAILS if isinstance(usage.get(name), dict)]
    details = found[0] if found else {}
    cached = min(_count(details, ("cached_tokens",)) or 0, given)
    return Tokens(fresh=given - cached, output=made, cache_read=cached)


def _count(holder: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return next((holder[name] for name in names if is_count(holder.get(name))), None)
