"""What Linear's answers mean for a delivery. Errors come with status 200 or 400, and have a code.

| answer | meaning |
|---|---|
| `RATELIMITED`, 429 | throttled, until the limit that is used up is restored, else for a minute |
| `INTERNAL_SERVER_ERROR`, `LOCK_TIMEOUT`, `NETWORK_ERROR`, 5xx, a broken connection, an unreadable answer | away |
| 401, `AUTHENTICATION_ERROR` | refused: a token that was made is made anew once before |
| `FORBIDDEN`, `FEATURE_NOT_ACCESSIBLE`, `USAGE_LIMIT_EXCEEDED`, anything else | refused |

Limits are of calls and of complexity, each told in headers. Source: https://linear.app/developers/rate-limiting,
https://linear.app/developers/graphql
"""

from __future__ import annotations

import math
import time
from typing import Any

import httpx

from services.adapters.chat.calls import away
from services.domain.errors import PlatformRefused, PlatformThrottled, SlipwayError

LABEL = "Linear"
UNAUTHENTICATED = "AUTHENTICATION_ERROR"
_AWAY = {"INTERNAL_SERVER_ERROR", "LOCK_TIMEOUT", "NETWORK_ERROR"}
_REFUSED = {
    UNAUTHENTICATED: "Linear does not accept the app's secret or token.",
    "FORBIDDEN": "The app may not do this at Linear.",
    "FEATURE_NOT_ACCESSIBLE": "The workspace's plan does not have this.",
    "USAGE_LIMIT_EXCEEDED": "The workspace has used up what its plan has.",
}
_LIMITS = ("requests", "complexity", "endpoint-requests")
_DEFAULT_WAIT_S = 60.0
_MAX_WAIT_S = 3_600.0


def failure_of(answer: httpx.Response) -> SlipwayError | None:
    """Return the platform error that an answer stands for, or None for one that has what was asked."""
    errors = errors_of(answer)
    code = code_of(answer)
    if code == "RATELIMITED" or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return PlatformThrottled("Linear asks to slow down.", retry_after_s=_wait_of(answer))
    if answer.status_code >= 500 or code in _AWAY:
        return away(LABEL, may_have_arrived=True)
    if errors or not answer.is_success:
        return PlatformRefused(
            _REFUSED.get(code, "Linear refused the request."), answer=_words(errors), code=code
        )
    return None


def code_of(answer: httpx.Response) -> str:
    """Return the code of an answer's first error; a status 401 has one, too."""
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        return UNAUTHENTICATED
    for error in errors_of(answer):
        extensions = error.get("extensions")
        if isinstance(extensions, dict):
            return str(extensions.get("code", ""))
    return ""


def errors_of(answer: httpx.Response) -> list[dict[str, Any]]:
    """List the errors of an answer."""
    try:
        errors = answer.json().get("errors") or []
    except (ValueError, AttributeError):
        return []
    return [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []


def _words(errors: list[dict[str, Any]]) -> str:
    for error in errors:
        extensions = error.get("extensions")
        shown = extensions.get("userPresentableMessage") if isinstance(extensions, dict) else None
        return str(shown or error.get("message") or "")[:500]
    return ""


def _wait_of(answer: httpx.Response) -> float:
    """Return how long to wait, in seconds, until each limit that is used up is restored."""
    after = answer.headers.get("retry-after", "")
    if after.isascii() and after.isdigit():
        return min(float(after), _MAX_WAIT_S)
    waits = []
    for limit in _LIMITS:
        reset = answer.headers.get(f"x-ratelimit-{limit}-reset", "")
        if (
            answer.headers.get(f"x-ratelimit-{limit}-remaining") == "0"
            and reset.isascii()
            and reset.isdigit()
        ):
            waits.append(math.ceil(float(reset) / 1000 - time.time()))
    return min(max(*waits, 1.0), _MAX_WAIT_S) if waits else _DEFAULT_WAIT_S
