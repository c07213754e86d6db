"""What Webex's answers mean for a delivery.

| answer | meaning |
|---|---|
| 429, 423 (a file that is being scanned) | throttled, for `Retry-After` seconds |
| 408, 5xx, a broken connection, a timeout | away |
| 401, 403, 404, any other 4xx | refused, with Webex's words |

Source: https://developer.webex.com/docs/basics (rate limiting, error codes)
"""

from __future__ import annotations

import httpx

from services.adapters.chat.calls import away, read_json, retry_after_s
from services.domain.errors import PlatformRefused, PlatformThrottled, SlipwayError

LABEL = "Webex"
_REFUSED = {
    400: "Webex does not take the message.",
    401: "Webex does not accept the bot's token.",
    403: "The bot may not do this there.",
    404: "Webex does not know the room or the message, or the bot is not in it.",
    410: "The file is gone.",
}


def translate(answer: httpx.Response) -> SlipwayError:
    """Return the platform error that stands for an answer other than 2xx."""
    status = answer.status_code
    if status in (423, 429):
        return PlatformThrottled("Webex asks to slow down.", retry_after_s=retry_after_s(answer))
    if status == 408 or status >= 500:
        return away(LABEL, may_have_arrived=True, after_s=retry_after_s(answer))
    said = str(read_json(answer).get("message", ""))[:200]
    return PlatformRefused(_REFUSED.get(status, "Webex refused the request."), answer=str(status), said=said)
