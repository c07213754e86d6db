"""What a receiver's answers mean for a delivery.

| answer | meaning |
|---|---|
| 2xx | taken |
| 429 | throttled, for `Retry-After` seconds |
| 408, 425, 5xx, a broken connection, a timeout | away |
| an address that is not on the public internet, or http, where the operator has not allowed the host | refused |
| 410 | refused: the receiver is gone |
| all else, redirects too | refused |

Source: Standard Webhooks, "Operational considerations"; RFC 9110, sections 10.2.3 and 15.
"""

from __future__ import annotations

import email.utils
from datetime import UTC, datetime

import httpx2

from services.domain.errors import (
    PlatformAway,
    PlatformRefused,
    PlatformThrottled,
    SlipwayError,
    UpstreamRefused,
)

DEFAULT_RETRY_S = 5.0
_AWAY = (408, 425)
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_REFUSED = {
    401: "The receiver does not accept the signature.",
    403: "The receiver does not let us write there.",
    404: "The receiver does not know the place or the message.",
    410: "The receiver is gone.",
    413: "The receiver finds the message too long.",
}


def check_status(status: int, retry_after: str) -> None:
    """Raise what an answer means, unless it was taken. Raises: PlatformThrottled, PlatformAway, PlatformRefused."""
    if 200 <= status < 300:
        return
    if status == 429:
        raise PlatformThrottled("The receiver asks to slow down.", retry_after_s=_seconds(retry_after))
    if status in _AWAY or status >= 500:
        raise PlatformAway(
            "The receiver cannot take it now.", retry_after_s=DEFAULT_RETRY_S, may_have_arrived=True
        )
    raise PlatformRefused(_REFUSED.get(status, "The receiver refused the message."), answer=str(status))


def translate(error: SlipwayError) -> SlipwayError:
    """Return the platform error that stands for one of the network's."""
    if isinstance(error, UpstreamRefused):
        return PlatformRefused("The receiver's address is not one that we post to.")
    cause = error.__cause__
    was_sent = isinstance(cause, httpx2.TransportError) and not isinstance(cause, _NOT_SENT)
    return PlatformAway(
        "The receiver does not answer.", retry_after_s=DEFAULT_RETRY_S, may_have_arrived=was_sent
    )


def _seconds(retry_after: str) -> float:
    """Read Retry-After: seconds, or a moment."""
    if retry_after.isascii() and retry_after.isdecimal() and len(retry_after) < 8:
        return float(retry_after)
    try:
        moment = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return DEFAULT_RETRY_S
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)
