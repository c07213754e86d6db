"""What model calls cost.

Source: platform.claude.com/docs/en/about-claude/pricing, "Model pricing", and each model's overview page, as of
October 2026; platform.openai.com/docs/pricing, "Text tokens", standard tier, as of mid 2026. Anthropic's cache writes
cost 1.25 times the input price for five minutes and twice for an hour, OpenAI's nothing extra; the price of a cache
read differs between models.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

# --- the table ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Price:
    """Micro-dollars per million tokens. A prompt longer than `long_after` tokens is charged `long_factor` times."""

    input: int
    output: int
    cache_read: int
    long_after: int | None = None
    long_factor: int = 1


def _usd(input_usd: float, output_usd: float, cache_read_usd: float) -> Price:
    return Price(*(round(dollars * 1_000_000) for dollars in (input_usd, output_usd, cache_read_usd)))


_FABLE_5_1 = _usd(10, 50, 0.25)
_FABLE_5 = _usd(10, 50, 1)
_OPUS_5_5 = _usd(4, 20, 0.20)
_OPUS_4_5 = _usd(5, 25, 0.50)
_OPUS_4 = _usd(15, 75, 1.50)
_SONNET_5_5 = _usd(2, 10, 0.10)
_SONNET_5 = _usd(2, 10, 0.20)
_SONNET_4 = _usd(3, 15, 0.30)
_HAIKU_5_5 = Price(100_000, 500_000, 10_000, long_after=100_000, long_factor=5)
_HAIKU_4_5 = _usd(1, 5, 0.10)
_HAIKU_3_5 = _usd(0.80, 4, 0.08)
_HAIKU_3 = _usd(0.25, 1.25, 0.03)

# By the beginning of a model's name; the longest that fits decides.
ANTHROPIC: dict[str, Price] = {
    "claude-fable-5-1": _FABLE_5_1,
    "claude-mythos-5-1": _FABLE_5_1,
    "claude-fable-5": _FABLE_5,
    "claude-mythos-5": _FABLE_5,
    "claude-opus-5-5": _OPUS_5_5,
    "claude-opus-5": _OPUS_4_5,
    "claude-opus-4-8": _OPUS_4_5,
    "claude-opus-4-7": _OPUS_4_5,
    "claude-opus-4-6": _OPUS_4_5,
    "claude-opus-4-5": _OPUS_4_5,
    "claude-opus-4": _OPUS_4,
    "claude-3-opus": _OPUS_4,
    "claude-sonnet-5-5": _SONNET_5_5,
    "claude-sonnet-5": _SONNET_5,
    "claude-sonnet-4": _SONNET_4,
    "claude-3-7-sonnet": _SONNET_4,
    "claude-3-5-sonnet": _SONNET_4,
    "claude-haiku-5-5": _HAIKU_5_5,
    "claude-haiku-4-5": _HAIKU_4_5,
    "claude-3-5-haiku": _HAIKU_3_5,
    "claude-3-haiku": _HAIKU_3,
}
_GPT_5 = _usd(1.25, 10, 0.125)
_GPT_5_2 = _usd(1.75, 14, 0.175)
_GPT_5_PRO = _usd(15, 120, 15)
# A long prompt costs twice for input and one and a half times for output; the dearer factor is taken for both.
_GPT_5_4 = Price(2_500_000, 15_000_000, 250_000, long_after=272_000, long_factor=2)
_GPT_5_5 = Price(5_000_000, 30_000_000, 500_000, long_after=272_000, long_factor=2)
_GPT_5_5_PRO = Price(30_000_000, 180_000_000, 30_000_000, long_after=272_000, long_factor=2)

OPENAI: dict[str, Price] = {
    "gpt-5": _GPT_5,
    "gpt-5-mini": _usd(0.25, 2, 0.025),
    "gpt-5-nano": _usd(0.05, 0.40, 0.005),
    "gpt-5-pro": _GPT_5_PRO,
    "gpt-5.1": _GPT_5,
    "gpt-5.1-codex-mini": _usd(0.25, 2, 0.025),
    "gpt-5.2": _GPT_5_2,
    "gpt-5.2-pro": _usd(21, 168, 21),
    "gpt-5.3": _GPT_5_2,
    "gpt-5.4": _GPT_5_4,
    "gpt-5.4-mini": _usd(0.75, 4.50, 0.075),
    "gpt-5.4-nano": _usd(0.20, 1.25, 0.02),
    "gpt-5.4-pro": _GPT_5_5_PRO,
    "gpt-5.5": _GPT_5_5,
    "gpt-5.5-pro": _GPT_5_5_PRO,
    "gpt-4.1": _usd(2, 8, 0.50),
    "gpt-4.1-mini": _usd(0.40, 1.60, 0.10),
    "gpt-4.1-nano": _usd(0.10, 0.40, 0.025),
    "gpt-4o": _usd(2.50, 10, 1.25),
    "gpt-4o-mini": _usd(0.15, 0.60, 0.075),
    "o3": _usd(2, 8, 0.50),
    "o3-mini": _usd(1.10, 4.40, 0.55),
    "o3-pro": _usd(20, 80, 20),
    "o4-mini": _usd(1.10, 4.40, 0.275),
    "codex-mini": _usd(1.50, 6, 0.375),
}
FAMILIES = ANTHROPIC | OPENAI


def _dearest_of(families: Iterable[Price]) -> Price:
    return max(families, key=lambda price: (price.output, price.input))


DEAREST = _dearest_of(FAMILIES.values())
DEAREST_CLAUDE = _dearest_of(ANTHROPIC.values())
_WRITE_5M, _WRITE_1H = 1.25, 2.0
# Estimates count bytes. Three to a token is less than what prose and code have, so the estimate is rather too high.
_BYTES_PER_TOKEN = 3

# --- what a call used, and what it costs -------------------------------------------------------------


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


def price_of(model: str) -> Price:
    """Return a model's price; an unknown one costs as much as the dearest known, so that no cap is passed by it.

    An unknown Claude model costs as much as the dearest Claude.
    """
    name = model.lower()
    fitting = [
        family for family in FAMILIES if name == family or name.startswith((f"{family}-", f"{family}["))
    ]
    if fitting:
        return FAMILIES[max(fitting, key=len)]
    return DEAREST_CLAUDE if name.startswith("claude") else DEAREST


def cost_microusd(model: str, tokens: Tokens) -> int:
    """Return what the tokens cost, rounded up to a whole micro-dollar."""
    price = price_of(model)
    writes = tokens.cache_write_5m * _WRITE_5M + tokens.cache_write_1h * _WRITE_1H
    total = (
        (tokens.fresh + writes) * price.input
        + tokens.cache_read * price.cache_read
        + tokens.output * price.output
    )
    if price.long_after is not None and tokens.input > price.long_after:
        total *= price.long_factor
    return math.ceil(total / 1_000_000)


def estimate_tokens(size_bytes: int, max_tokens: int, *, writes_cache_for: str | None = None) -> Tokens:
    """Return the most that a request is expected to use. `writes_cache_for` is None, "5m" or "1h"."""
    given = math.ceil(size_bytes / _BYTES_PER_TOKEN)
    return Tokens(
        fresh=given if writes_cache_for is None else 0,
        cache_write_5m=given if writes_cache_for == "5m" else 0,
        cache_write_1h=given if writes_cache_for == "1h" else 0,
        output=max_tokens,
    )
