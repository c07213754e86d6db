"""What Google's answers mean for a delivery.

| answer | meaning |
|---|---|
| 429 | throttled, for `Retry-After` seconds, else for as long as a space's minute may still have |
| 408, 5xx, a broken connection, a timeout | away |
| 401 with a fresh token, 403, 404, any other 4xx | refused, with Google's status |

Source: https://developers.google.com/workspace/chat/limits,
https://developers.google.com/workspace/chat/api/reference/rest/v1/spaces.messages/create
"""

from __future__ import annotations

import httpx

from services.adapters.chat.calls import away, read_json, retry_after_s
from services.domain.errors import PlatformRefused, PlatformThrottled, SlipwayError

LABEL = "Google Chat"
# 60 writes a minute are shared by all apps of a space; Google seldom says how many seconds of it are left.
_MINUTE_RETRY_S = 15.0
_REFUSED = {
    "PERMISSION_DENIED": "The app is not in the space, or may not write there.",
    "NOT_FOUND": "Google does not know the space or the message.",
    "INVALID_ARGUMENT": "Google does not take the message.",
    "UNAUTHENTICATED": "Google does not accept the service account's key.",
    "ALREADY_EXISTS": "The message is there already.",
}


def translate(answer: httpx.Response) -> SlipwayError:
    """Return the platform error that stands for an answer other than 2xx."""
    if answer.status_code == 429:
        wait_s = retry_after_s(answer, _MINUTE_RETRY_S)
        return PlatformThrottled("Google asks to slow down.", retry_after_s=wait_s)
    if answer.status_code == 408 or answer.status_code >= 500:
        return away(LABEL, may_have_arrived=True, after_s=retry_after_s(answer))
    error = read_json(answer).get("error")
    status = str(error.get("status", "")) if isinstance(error, dict) else ""
    said = str(error.get("message", ""))[:200] if isinstance(error, dict) else ""
    return PlatformRefused(
        _REFUSED.get(status, "Google refused the request."),
        answer=status or str(answer.status_code),
        said=said,
    )


def translate_token(answer: httpx.Response) -> SlipwayError:
    """Return the error that stands for a token that was not given."""
    if answer.status_code == 429:
        return PlatformThrottled("Google asks to slow down.", retry_after_s=retry_after_s(answer))
    if answer.status_code >= 500:
        return away("Google's sign-in", may_have_arrived=False)
    code = read_json(answer).get("error")
    return PlatformRefused(
        _REFUSED["UNAUTHENTICATED"], answer=code if isinstance(code, str) else str(answer.status_code)
    )
