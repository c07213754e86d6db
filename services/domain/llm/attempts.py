"""Whom to ask, and whom next: keys by priority, models that may stand in, tries before the first byte is passed on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.domain.llm.rules import OwnKey, Rules

MAX_WAIT_S = 10.0
"""A vendor that wants more time than this before the next try is not waited for."""
_FIRST_PAUSE_S = 0.25
_LAST_PAUSE_S = 4.0
REFUSES_KEY = 401
LIMITS = 429
OVERLOADED = frozenset({500, 502, 503, 504, 529})


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model asked with one key; None is the platform's."""

    model: str
    own: OwnKey | None


class Plan:
    """The candidates of one call, in order, and how often each is tried."""

    def __init__(self, models: Sequence[str], keys: Sequence[OwnKey | None], retries: int) -> None:
        self._left = [Candidate(model, own) for model in models for own in keys]
        self._retries = retries
        self._tries = 0

    @classmethod
    def of(cls, rules: Rules, models: Sequence[str], vendor: str) -> Plan:
        """Plan by an organisation's rules."""
        return cls(models, rules.keys_for(vendor), rules.retries)

    def __iter__(self) -> Iterator[Candidate]:
        """Yield the candidate to try, for as long as one is left; `fail` says how it went."""
        while self._left:
            yield self._left[0]

    @property
    def is_empty(self) -> bool:
        """Say whether nobody is left to ask."""
        return not self._left

    @property
    def has_more(self) -> bool:
        """Say whether a failure of the current try can be followed by another."""
        return len(self._left) > 1 or self._tries < self._retries

    def fail(self, status: int, headers: Mapping[str, str]) -> float | None:
        """Note that the current try failed with a status, 0 for no answer.

        Returns how long to wait before the next try, and None when there is none to be made.
        """
        self._tries += 1
        if status == REFUSES_KEY:
            self._drop_key()
            return 0.0 if self._left else None
        asked = asked_delay(headers)
        may_try_again = status != LIMITS and self._tries <= self._retries
        if may_try_again and (asked is None or asked <= MAX_WAIT_S):
            return asked if asked is not None else _pause(self._tries)
        return self.skip()

    def skip(self) -> float | None:
        """Leave the current candidate out; returns the same as `fail`."""
        self._left.pop(0)
        self._tries = 0
        return 0.0 if self._left else None

    def _drop_key(self) -> None:
        refused = self._left[0].own
        self._left = [one for one in self._left if one.own is not refused]
        self._tries = 0


def may_follow(status: int) -> bool:
    """Say whether an answer of this status leaves it to somebody else to answer."""
    return status in OVERLOADED or status in (LIMITS, REFUSES_KEY)


def asked_delay(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds a vendor asks to wait. A date is not read: what it gives is up to its clock."""
    for name, factor in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "")
        try:
            seconds = float(text) * factor
        except ValueError:
            continue
        if seconds >= 0:
            return seconds
    return None


async def pause(seconds: float) -> None:
    """Wait before the next try."""
    if seconds > 0:
        await asyncio.sleep(seconds)


def _pause(number: int) -> float:
    longest = min(_LAST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (number - 1))
    # Spread, so that those who failed together do not come back together.
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  # no secret
