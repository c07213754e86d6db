"""The price of a model at a moment: the vendors' list, and over it what operators have set."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from datetime import datetime

from services.domain.llm.models import ModelPrice
from services.domain.llm.price_list import LISTED
from services.domain.llm.rates import Price

_CLAUDE = "claude"


class PriceBook:
    """Prices by family and by the moment from which each counts; of two for one moment the later in the list."""

    def __init__(self, entries: Iterable[tuple[str, datetime, Price]]) -> None:
        self._families: dict[str, list[tuple[datetime, Price]]] = {}
        for family, since, price in entries:
            self._families.setdefault(family.lower(), []).append((since, price))
        for dated in self._families.values():
            dated.sort(key=lambda entry: entry[0])

    def price_of(self, model: str, at: datetime) -> Price:
        """Return a model's price for a call that starts then.

        The longest family that the name begins with decides. An unknown model costs as much as the dearest known, so
        that no cap is passed by it; an unknown Claude as much as the dearest Claude.
        """
        return self._priced(model, at) or self.dearest(at, only_claude=model.lower().startswith(_CLAUDE))

    def families(self, at: datetime) -> dict[str, Price]:
        """Return the prices that count at a moment."""
        current = ((family, self._at(family, at)) for family in sorted(self._families))
        return {family: price for family, price in current if price is not None}

    def dearest(self, at: datetime, *, only_claude: bool = False) -> Price:
        """Return the dearest price of a moment."""
        found = [
            price
            for family, price in self.families(at).items()
            if not only_claude or family.startswith(_CLAUDE)
        ]
        return max(found, key=lambda price: (price.rates.output, price.rates.input))

    def _priced(self, model: str, at: datetime) -> Price | None:
        name = model.lower()
        fitting = [
            family
            for family in self._families
            if name == family or name.startswith((f"{family}-", f"{family}["))
        ]
        # A family whose first price does not count yet leaves the model to a shorter one.
        for family in sorted(fitting, key=len, reverse=True):
            price = self._at(family, at)
            if price is not None:
                return price
        return None

    def _at(self, family: str, at: datetime) -> Price | None:
        current = None
        for since, price in self._families[family]:
            if since <= at:
                current = price
        return current


@functools.cache
def listed_prices() -> PriceBook:
    """Return the vendors' list alone."""
    return PriceBook(LISTED)


def load_price_book() -> PriceBook:
    """Return the vendors' list with what operators have set over it."""
    set_by_operators = [
        (row.family, row.effective_from, price_of_row(row))
        for row in ModelPrice.objects.order_by("created_at")
    ]
    return PriceBook([*LISTED, *set_by_operators]) if set_by_operators else listed_prices()


def price_of_row(row: ModelPrice) -> Price:
    """Return the price that a row says."""
    names = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
    return Price.from_json({name: getattr(row, name) for name in names} | {"tiers": row.tiers})
