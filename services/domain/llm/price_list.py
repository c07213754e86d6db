"""What models cost, as their vendors say: by family, from which moment on. Never change an entry: add a newer one.

Source: platform.claude.com/docs/en/about-claude/pricing, "Model pricing", and each model's overview page, as of
October 2026; platform.openai.com/docs/pricing, "Text tokens", standard tier, and "Transcription", as of mid 2026.
Anthropic's cache writes cost 1.25 times the input price for five minutes and twice for an hour, OpenAI's nothing extra;
the price of a cache read differs between models.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from services.domain.llm.rates import Price, Rates, Tier

ALWAYS = datetime(2020, 1, 1, tzinfo=UTC)


def _micro(usd: str) -> int:
    return int(Decimal(usd) * 1_000_000)


def _claude_rates(input_usd: str, output_usd: str, cache_read_usd: str) -> Rates:
    given = _micro(input_usd)
    return Rates(given, _micro(output_usd), _micro(cache_read_usd), given * 5 // 4, given * 2)


def _claude(input_usd: str, output_usd: str, cache_read_usd: str) -> Price:
    return Price(_claude_rates(input_usd, output_usd, cache_read_usd))


def _gpt(input_usd: str, output_usd: str, cache_read_usd: str, *, long_after: int | None = None) -> Price:
    """Return a price; a prompt longer than `long_after` costs twice for input and one and a half times for output."""
    given, made, read = _micro(input_usd), _micro(output_usd), _micro(cache_read_usd)
    tiers: tuple[Tier, ...] = ()
    if long_after is not None:
        tiers = (Tier(long_after, Rates(given * 2, made * 3 // 2, read * 2, given * 2, given * 2)),)
    return Price(Rates(given, made, read, given, given), tiers)


_FABLE_5_1 = _claude("10", "50", "0.25")
_FABLE_5 = _claude("10", "50", "1")
_OPUS_5_5 = _claude("4", "20", "0.20")
_OPUS_4_5 = _claude("5", "25", "0.50")
_OPUS_4 = _claude("15", "75", "1.50")
_SONNET_5_5 = _claude("2", "10", "0.10")
_SONNET_5 = _claude("2", "10", "0.20")
_SONNET_4 = _claude("3", "15", "0.30")
_HAIKU_5_5 = Price(
    _claude_rates("0.10", "0.50", "0.01"), (Tier(100_000, _claude_rates("0.50", "2.50", "0.05")),)
)

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
    "claude-haiku-4-5": _claude("1", "5", "0.10"),
    "claude-3-5-haiku": _claude("0.80", "4", "0.08"),
    "claude-3-haiku": _claude("0.25", "1.25", "0.03"),
}
_GPT_5 = _gpt("1.25", "10", "0.125")
_GPT_5_2 = _gpt("1.75", "14", "0.175")
_LONG = 272_000
_GPT_5_5_PRO = _gpt("30", "180", "30", long_after=_LONG)

OPENAI: dict[str, Price] = {
    "gpt-5": _GPT_5,
    "gpt-5-mini": _gpt("0.25", "2", "0.025"),
    "gpt-5-nano": _gpt("0.05", "0.40", "0.005"),
    "gpt-5-pro": _gpt("15", "120", "15"),
    "gpt-5.1": _GPT_5,
    "gpt-5.1-codex-mini": _gpt("0.25", "2", "0.025"),
    "gpt-5.2": _GPT_5_2,
    "gpt-5.2-pro": _gpt("21", "168", "21"),
    "gpt-5.3": _GPT_5_2,
    "gpt-5.4": _gpt("2.50", "15", "0.25", long_after=_LONG),
    "gpt-5.4-mini": _gpt("0.75", "4.50", "0.075"),
    "gpt-5.4-nano": _gpt("0.20", "1.25", "0.02"),
    "gpt-5.4-pro": _GPT_5_5_PRO,
    "gpt-5.5": _gpt("5", "30", "0.50", long_after=_LONG),
    "gpt-5.5-pro": _GPT_5_5_PRO,
    "gpt-4.1": _gpt("2", "8", "0.50"),
    "gpt-4.1-mini": _gpt("0.40", "1.60", "0.10"),
    "gpt-4.1-nano": _gpt("0.10", "0.40", "0.025"),
    "gpt-4o": _gpt("2.50", "10", "1.25"),
    "gpt-4o-mini": _gpt("0.15", "0.60", "0.075"),
    "o3": _gpt("2", "8", "0.50"),
    "o3-mini": _gpt("1.10", "4.40", "0.55"),
    "o3-pro": _gpt("20", "80", "20"),
    "o4-mini": _gpt("1.10", "4.40", "0.275"),
    "codex-mini": _gpt("1.50", "6", "0.375"),
}
BY_SECOND = frozenset({"whisper-1"})
"""Models that are paid by the second of sound: a second is counted as a token of input."""

# What is said goes in as sound, at a price of its own, and comes out as text.
TRANSCRIBERS: dict[str, Price] = {
    "whisper-1": _gpt("100", "0", "100"),
    "gpt-4o-transcribe": _gpt("6", "10", "6"),
    "gpt-4o-mini-transcribe": _gpt("3", "5", "3"),
}
FAMILIES = ANTHROPIC | OPENAI | TRANSCRIBERS

LISTED: tuple[tuple[str, datetime, Price], ...] = tuple(
    (family, ALWAYS, price) for family, price in FAMILIES.items()
)
"""Every price with the moment from which it counts. A change is one more entry of the same family."""
