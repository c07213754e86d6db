"""The forms that several answers share: times, money, pages."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from services.kit.moments import Moment as Moment

ItemT = TypeVar("ItemT")


class Shape(BaseModel):
    """The base of every answer: read from a row's attributes, or built by hand."""

    model_config = ConfigDict(from_attributes=True, extra="forbid")


def _all_optional(schema: dict[str, Any]) -> None:
    schema.pop("required", None)
    for field in schema.get("properties", {}).values():
        field.pop("default", None)


class Changes(BaseModel):
    """The base of a PATCH's body: nothing is required, and defaults mean nothing, as only what is sent is changed."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, json_schema_extra=_all_optional)


class Page(Shape, Generic[ItemT]):
    """Part of a list. `next` is what to send as `cursor` to get on; null at the end."""

    items: list[ItemT]
    next: str | None


def to_usd(microusd: int | None) -> str | None:
    """Show micro-dollars as a decimal text."""
    return None if microusd is None else f"{Decimal(microusd) / 1_000_000:.6f}"


def to_microusd(usd: Decimal | None) -> int | None:
    """Turn dollars with at most six decimals into micro-dollars."""
    return None if usd is None else int(usd * 1_000_000)
