"""Regular expressions on an engine without backtracking (Rust's, as pydantic has it).

Its time grows with pattern times text, whatever somebody typed; so it has no look-around and no back references.
Source: https://docs.rs/regex/latest/regex/, "Untrusted input".
"""

from __future__ import annotations

import functools
import math
import re

from pydantic_core import SchemaError, SchemaValidator, core_schema

_REPETITION = re.compile(r"\{(\d+)(?:,(\d*))?\}")


def find_fault(pattern: str) -> str | None:
    """Return what is wrong with a pattern, None for a usable one."""
    try:
        _compiled(pattern)
    except SchemaError as error:
        return str(error).strip().splitlines()[-1][:200]
    return None


def count_repetitions(pattern: str) -> int:
    """Return how often a pattern repeats things in all, as far as its counts multiply: what makes it large."""
    return math.prod(max(1, int(low), int(high or 0)) for low, high in _REPETITION.findall(pattern))


def is_found(pattern: str, text: str) -> bool:
    """Say whether a pattern is somewhere in a text without lone surrogates, which the engine does not take."""
    return _compiled(pattern).isinstance_python(text)


@functools.lru_cache(maxsize=2_048)
def _compiled(pattern: str) -> SchemaValidator:
    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex", strict=True))
