"""What the connector's answers mean for a delivery.

| answer | meaning |
|---|---|
| 429 | throttled, for `Retry-After` seconds |
| 412 | away: two changes at once, of which ours was not taken |
| 408, 5xx, a broken connection, a timeout | away |
| 401 with a fresh token, 403, 404, 413, any other 4xx | refused, with the connector's code |

Source: https://learn.microsoft.com/microsoftteams/platform/bots/how-to/rate-limit,
https://learn.microsoft.com/microsoftteams/platform/bots/how-to/conversations/send-proactive-messages
"""

from __future__ import annotations

import httpx

from services.adapters.chat.calls import away, read_json, retry_after_s
from services.domain.errors import PlatformRefused, PlatformThrottled, SlipwayError

LABEL = "Microsoft Teams"
_REFUSED = {
    "BotNotInConversationRoster": "The bot is not in this conversation.",
    "ConversationNotFound": "Teams does not know the conversation.",
    "ActivityNotFoundInConversation": "Teams does not know the message.",
    "MessageSizeTooBig": "Teams finds the message too large.",
    "MessageWritesBlocked": "The person has blocked the bot.",
    "ContentStreamNotAllowed": "The answer that was shown while it was written was stopped, or went on for too long.",
}


def translate(answer: httpx.Response) -> SlipwayError:
    """Return the platform error that stands for an answer other than 2xx."""
    status = answer.status_code
    if status == 429:
        return PlatformThrottled("Teams asks to slow down.", retry_after_s=retry_after_s(answer))
    if status == 412 or status == 408 or status >= 500:
        return away(LABEL, may_have_arrived=status != 412, after_s=retry_after_s(answer))
    error = read_json(answer).get("error")
    code = str(error.get("code", "")) if isinstance(error, dict) else ""
    said = str(error.get("message", ""))[:200] if isinstance(error, dict) else ""
    return PlatformRefused(
        _REFUSED.get(code, "Teams refused the request."), answer=code or str(status), said=said
    )


def translate_login(answer: httpx.Response) -> SlipwayError:
    """Return the error that stands for a token that was not given."""
    if answer.status_code == 429:
        return PlatformThrottled("Microsoft asks to slow down.", retry_after_s=retry_after_s(answer))
    if answer.status_code >= 500:
        return away("Microsoft's sign-in", may_have_arrived=False)
    code = read_json(answer).get("error")
    return PlatformRefused(
        "Microsoft does not accept the app's ID, secret or tenant.",
        answer=code if isinstance(code, str) else str(answer.status_code),
    )
