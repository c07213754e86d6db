"""How long a provider asks to wait."""

from __future__ import annotations

import httpx2

MAX_WAIT_S = 3_600.0
DEFAULT_WAIT_S = 30.0


def retry_after_s(answer: httpx2.Response) -> float:
    """Return how long to wait, in seconds. A date is not read: what it gives is up to the provider's clock."""
    text = answer.headers.get("retry-after", "")
    return min(float(text), MAX_WAIT_S) if text.isascii() and text.isdigit() else DEFAULT_WAIT_S
