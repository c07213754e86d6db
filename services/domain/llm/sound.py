"""What it takes to put a recording into text: before, at most, by its size; after, by what its server says. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from services.domain.llm.price_list import BY_SECOND
from services.domain.llm.rates import Tokens

# The thinnest that phones record speech in, AMR at 4.75 kbit/s, so that no recording lasts longer than its estimate.
_BYTES_PER_SECOND = 590
# A minute of sound is a thousand tokens by the vendor's own conversion of its prices, and nobody says more than four
# words, or six tokens, in a second.
_GIVEN_PER_SECOND = 17
_SAID_PER_SECOND = 6


def most_of_sound(model: str, size_bytes: int) -> Tokens:
    """Return the most that a recording of so many bytes is expected to use."""
    return _of_seconds(model, math.ceil(size_bytes / _BYTES_PER_SECOND))


def used_of_sound(model: str, answer: Mapping[str, Any]) -> Tokens | None:
    """Return what an answer says that it used, in tokens or in seconds; None when it does not say.

    Source: the vendor's API reference, "The transcription object", `usage`.
    """
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None
    given, said, seconds = (_count(usage.get(name)) for name in ("input_tokens", "output_tokens", "seconds"))
    if given is not None and said is not None:
        return Tokens(fresh=given, output=said)
    return _of_seconds(model, seconds) if seconds is not None else None


def _of_seconds(model: str, seconds: int) -> Tokens:
    if model.lower() in BY_SECOND:
        return Tokens(fresh=seconds)
    return Tokens(fresh=seconds * _GIVEN_PER_SECOND, output=seconds * _SAID_PER_SECOND)


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53
    return math.ceil(value) if is_count else None
