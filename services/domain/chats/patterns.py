"""Patterns of wirings: matched in time that grows with pattern and text alone, and both are bounded."""

from __future__ import annotations

from services.domain.errors import PatternInvalid, PatternTooCostly
from services.kit.linear_regex import count_repetitions, find_fault, is_found

MATCH_CHARS = 4_000
MAX_REPETITIONS = 1_000


def check_pattern(pattern: str) -> None:
    """Refuse a pattern that cannot be used. Raises: PatternInvalid, PatternTooCostly."""
    if not pattern:
        raise PatternInvalid("A pattern is needed.", fields={"pattern": "empty"})
    if count_repetitions(pattern) > MAX_REPETITIONS:
        raise PatternTooCostly(
            f"A pattern repeats at most {MAX_REPETITIONS} times in all.",
            fields={"pattern": "repeats too often"},
        )
    fault = find_fault(pattern)
    if fault is not None:
        raise PatternInvalid("This is no regular expression that can be used.", fields={"pattern": fault})


def is_match(pattern: str, text: str) -> bool:
    """Say whether a usable pattern is found in the first MATCH_CHARS of a text."""
    return is_found(pattern, text[:MATCH_CHARS])
