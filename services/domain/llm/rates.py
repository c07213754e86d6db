"""What a call used, and what that costs: whole micro-dollars, never a fraction."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

# Estimates count bytes. Three to a token is less than what prose and code have, so the estimate is rather too high.
_BYTES_PER_TOKEN = 3
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Tokens:
    """What one call used, as the vendor counts: `fresh` is the input that no cache was used for."""

    fresh: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0

    @property
    def input(self) -> int:
        """Return all input, cached or not."""
        return self.fresh + self.cache_read + self.cache_write_5m + self.cache_write_1h


@dataclass(frozen=True, slots=True)
class Rates:
    """Micro-dollars per million tokens."""

    input: int
    output: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int

    def cost_of(self, tokens: Tokens) -> int:
        """Return what tokens cost, rounded up to a whole micro-dollar."""
        total = (
            tokens.fresh * self.input
            + tokens.output * self.output
            + tokens.cache_read * self.cache_read
            + tokens.cache_write_5m * self.cache_write_5m
            + tokens.cache_write_1h * self.cache_write_1h
        )
        return -(-total // _MILLION)


@dataclass(frozen=True, slots=True)
class Tier:
    """Other rates, for the whole of a call whose prompt is longer than `after` tokens."""

    after: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class Price:
    """The rates of a family of models; the tiers stand in the order of their length."""

    rates: Rates
    tiers: tuple[Tier, ...] = ()

    @property
    def output(self) -> int:
        """Return the price of a million tokens of output, of a short prompt."""
        return self.rates.output

    def rates_for(self, prompt_tokens: int) -> Rates:
        """Return the rates for a prompt of so many tokens."""
        rates = self.rates
        for tier in self.tiers:
            if prompt_tokens > tier.after:
                rates = tier.rates
        return rates

    def cost_of(self, tokens: Tokens) -> int:
        """Return what a call's tokens cost, in micro-dollars."""
        return self.rates_for(tokens.input).cost_of(tokens)

    def most_of(self, tokens: Tokens) -> int:
        """Return the most that estimated tokens may cost: in the dearest tier that a prompt up to theirs can be in."""
        fitting = [self.rates, *(tier.rates for tier in self.tiers if tokens.input > tier.after)]
        return max(rates.cost_of(tokens) for rates in fitting)

    def to_json(self) -> dict[str, Any]:
        """Return a form to be stored with a call, by which its cost can be worked out again."""
        tiers = [{"after": tier.after, **asdict(tier.rates)} for tier in self.tiers]
        return asdict(self.rates) | ({"tiers": tiers} if tiers else {})

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Price:
        """Read what `to_json` made."""
        tiers = tuple(
            Tier(int(tier["after"]), _rates(tier))
            for tier in sorted(values.get("tiers") or (), key=lambda tier: int(tier["after"]))
        )
        return cls(_rates(values), tiers)


def _rates(values: dict[str, Any]) -> Rates:
    return Rates(
        *(int(values[name]) for name in ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h"))
    )


def estimate_tokens(size_bytes: int, max_tokens: int, *, writes_cache_for: str | None = None) -> Tokens:
    """Return the most that a request is expected to use. `writes_cache_for` is None, "5m" or "1h"."""
    given = -(-size_bytes // _BYTES_PER_TOKEN)
    return Tokens(
        fresh=given if writes_cache_for is None else 0,
        cache_write_5m=given if writes_cache_for == "5m" else 0,
        cache_write_1h=given if writes_cache_for == "1h" else 0,
        output=max_tokens,
    )
