"""What a BlueBubbles server's answers mean for a delivery.

| answer | meaning |
|---|---|
| 429 | throttled, for `Retry-After` seconds: a proxy before the server |
| 400 that says "already queued" | away: an earlier attempt is still at work |
| an `iMessage Error` | refused: Apple did not take the message |
| 408, other 5xx, a broken connection, a timeout | away |
| 401, 403, 404, any other 4xx | refused |

Source: https://docs.bluebubbles.app/server/developer-guides/rest-api-and-webhooks
"""

from __future__ import annotations

import httpx

from services.adapters.chat.calls import away, read_json, retry_after_s
from services.domain.errors import PlatformRefused, PlatformThrottled, SlipwayError

LABEL = "The BlueBubbles server"
_QUEUED = "already queued"
_QUEUED_RETRY_S = 15.0
_REFUSED = {
    401: "The BlueBubbles server does not accept the password.",
    404: "The BlueBubbles server does not know the chat or the message.",
}


def translate(answer: httpx.Response) -> SlipwayError:
    """Return the platform error that stands for an answer other than 2xx."""
    status = answer.status_code
    if status == 429:
        return PlatformThrottled("The BlueBubbles server is busy.", retry_after_s=retry_after_s(answer))
    error = read_json(answer).get("error")
    given = error if isinstance(error, dict) else {}
    kind, said = str(given.get("type", "")), str(given.get("message", ""))[:200]
    if status == 400 and _QUEUED in said:
        return away(LABEL, may_have_arrived=True, after_s=_QUEUED_RETRY_S)
    if kind == "iMessage Error":
        return PlatformRefused("Apple did not take the message.", answer=kind, said=said)
    if status == 408 or status >= 500:
        return away(LABEL, may_have_arrived=True, after_s=retry_after_s(answer))
    return PlatformRefused(
        _REFUSED.get(status, "The BlueBubbles server refused the request."), answer=str(status), said=said
    )
