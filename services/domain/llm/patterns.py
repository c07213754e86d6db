"""Patterns of model names, in which `*` stands for anything."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import StringConstraints

MAX_PATTERNS = 100

ModelName = Annotated[
    str, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/\[\]-]*$")
]
ModelPattern = Annotated[
    str, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9*][A-Za-z0-9*._:/\[\]-]*$")
]


def is_allowed(model: str, *bounds: Iterable[str] | None) -> bool:
    """Say whether a model is within every one of the lists of patterns; None bounds nothing."""
    return all(bound is None or fits(model, tuple(bound)) for bound in bounds)


@functools.lru_cache(maxsize=4_096)
def fits(model: str, patterns: Sequence[str]) -> bool:
    """Say whether a model's name fits one of the patterns, capitals or not."""
    name = model.lower()
    return any(_compiled(pattern.lower()).fullmatch(name) for pattern in patterns)


@functools.lru_cache(maxsize=4_096)
def _compiled(pattern: str) -> re.Pattern[str]:
    # Neighbouring stars are one: many of them in a row would make the match slow.
    parts = re.split(r"\*+", pattern)
    return re.compile(".*".join(re.escape(part) for part in parts), re.DOTALL)
