"""What a homeserver's answers mean for a delivery.

| answer | meaning |
|---|---|
| 429, or `M_LIMIT_EXCEEDED` | throttled, for `Retry-After` seconds, or `retry_after_ms` |
| 401, 403, 404, 413 and the other 4xx | refused, with the server's code |
| 5xx, a broken connection, a timeout, an answer that is not JSON | away |
| an address that is not public | refused |

Source: https://spec.matrix.org/v1.11/client-server-api/#standard-error-response
"""

from __future__ import annotations

from typing import Any

import httpx2

from services.domain.errors import (
    PlatformAway,
    PlatformRefused,
    PlatformThrottled,
    SlipwayError,
    UpstreamAway,
    UpstreamRefused,
)

_REFUSED = {
    "M_UNKNOWN_TOKEN": "The homeserver does not accept the access token.",
    "M_MISSING_TOKEN": "The homeserver does not accept the access token.",
    "M_USER_DEACTIVATED": "The bot's account is deactivated.",
    "M_FORBIDDEN": "The homeserver does not let the bot do this: it is not in the room, or has no right to.",
    "M_NOT_FOUND": "The homeserver does not know this.",
    "M_TOO_LARGE": "The homeserver finds it too large.",
    "M_UNSUPPORTED_ROOM_VERSION": "The homeserver does not know the room's version.",
}
_DEFAULT_RETRY_S = 5.0
_MAX_RETRY_S = 3_600.0


def translate_answer(answer: httpx2.Response, body: dict[str, Any]) -> SlipwayError:
    """Return the platform error that stands for an answer other than 200."""
    code = body.get("errcode")
    code = code if isinstance(code, str) else ""
    if answer.status_code == 429 or code == "M_LIMIT_EXCEEDED":
        return PlatformThrottled(
            "The homeserver asks to slow down.", retry_after_s=_retry_after(answer, body)
        )
    if answer.status_code >= 500 or answer.status_code < 400:
        return away(may_have_arrived=True)
    return PlatformRefused(
        _REFUSED.get(code, "The homeserver refused the request."), answer=code, status=answer.status_code
    )


def translate_network(error: UpstreamAway | UpstreamRefused) -> SlipwayError:
    """Return the platform error for a request that got no answer."""
    if isinstance(error, UpstreamRefused):
        return PlatformRefused(error.message, answer="")
    cause = error.__cause__
    is_sent = isinstance(cause, httpx2.TransportError) and not isinstance(
        cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout
    )
    return away(may_have_arrived=is_sent)


def away(*, may_have_arrived: bool) -> PlatformAway:
    """Return the error for a homeserver that does not answer as it should."""
    return PlatformAway(
        "The homeserver does not answer.", retry_after_s=_DEFAULT_RETRY_S, may_have_arrived=may_have_arrived
    )


def _retry_after(answer: httpx2.Response, body: dict[str, Any]) -> float:
    header, milliseconds = answer.headers.get("retry-after", ""), body.get("retry_after_ms")
    if header.isascii() and header.isdigit():
        return min(float(header), _MAX_RETRY_S)
    if isinstance(milliseconds, int) and milliseconds >= 0:
        return min(milliseconds / 1000, _MAX_RETRY_S)
    return _DEFAULT_RETRY_S
