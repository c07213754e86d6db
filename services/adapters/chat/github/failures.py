"""What GitHub's answers mean for a delivery.

| answer | meaning |
|---|---|
| 403 or 429 with `Retry-After`, with no calls left, or of the secondary limit | throttled, until then or for a minute |
| 401 | refused: the key is not the app's; a token is made anew once before |
| any other 403 | refused: a right is missing, or the conversation is locked |
| 301, 307, 308 | refused: the repository has another name now |
| 404, 410 | refused: there is no such issue or comment, or the app cannot see it |
| 422 and other 4xx | refused |
| 5xx, a broken connection, a timeout, an unreadable answer | away |

Source: https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api,
https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

from __future__ import annotations

import httpx

from services.adapters.chat.calls import away
from services.adapters.github_app import wait_of, words_of
from services.domain.errors import PlatformRefused, PlatformThrottled, SlipwayError

LABEL = "GitHub"
_REFUSED = {
    401: "GitHub does not accept the app's key.",
    403: "GitHub does not let the app do this.",
    404: "GitHub has no such issue or comment, or the app cannot see it.",
    410: "The issue or comment is gone.",
    422: "GitHub refused the request.",
}


def translate(answer: httpx.Response, *, is_token: bool = False) -> SlipwayError:
    """Return the platform error that an answer stands for. `is_token`: nothing but a token was asked for."""
    wait_s = wait_of(answer.status_code, answer.headers, answer.content)
    if wait_s is not None:
        return PlatformThrottled("GitHub asks to slow down.", retry_after_s=wait_s)
    if answer.status_code >= 500:
        return away(LABEL, may_have_arrived=not is_token)
    words = words_of(answer.content)
    if answer.is_redirect:
        return PlatformRefused("The repository has another name now.", answer=words)
    if is_token:
        return PlatformRefused(
            "GitHub gives the app no token: its key was replaced, or it is not installed for this repository with "
            "the right to write issues and pull requests.",
            answer=words,
        )
    return PlatformRefused(_REFUSED.get(answer.status_code, "GitHub refused the request."), answer=words)
