"""Reading rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

RowT = TypeVar("RowT")


def first_of(rows: Iterable[RowT]) -> RowT | None:
    """Return the first row, or None when there is none; the statement runs here."""
    return next(iter(rows), None)
