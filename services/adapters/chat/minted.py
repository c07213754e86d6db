"""Access tokens that platforms give out for a while, each asked for once and kept while it is good."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

# A token that ends while a call is on its way is of no use.
EARLY_S = 120.0
MAX_KEPT = 2_000


@dataclass(slots=True)
class _Kept:
    """One token; whoever wants it while it is asked for waits. Never shown in a repr."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    text: str = field(default="", repr=False)
    good_until: float = 0.0


class MintedTokens:
    """The tokens of this process, by a key that changes when the credentials do. They may be lost at any moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def get(self, key: str, mint: Callable[[], tuple[str, float]], *, refused: str | None = None) -> str:
        """Return a token; `mint` gives one with its life in seconds. `refused` is one that was taken for bad.

        Raises: what `mint` raises.
        """
        with self._lock:
            kept = self._kept.setdefault(key, _Kept())
            self._kept.move_to_end(key)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        with kept.lock:
            if kept.text in ("", refused) or kept.good_until <= time.monotonic():
                text, life_s = mint()
                kept.text, kept.good_until = text, time.monotonic() + max(life_s - EARLY_S, 0.0)
            return kept.text
