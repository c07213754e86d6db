"""What Gmail's refusals mean.

Source: https://developers.google.com/workspace/gmail/api/guides/handle-errors
"""

from __future__ import annotations

import json
from typing import Any

import httpx2

from services.adapters.accounts.waiting import retry_after_s
from services.domain.errors import (
    AccountAway,
    AccountDenied,
    AccountRefused,
    AccountThrottled,
    AccountUnauthorised,
    ItemMissing,
    SlipwayError,
)

_THROTTLED = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "dailyLimitExceeded", "quotaExceeded"})
_TOO_NARROW = frozenset({"insufficientPermissions", "insufficientScopes", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"})


def failure_of(answer: httpx2.Response, body: bytes) -> SlipwayError:
    """Return the error that an answer other than 2xx stands for."""
    reason, words = _read(body)
    status = answer.status_code
    if status == 429 or (status == 403 and reason in _THROTTLED):
        wait_s = retry_after_s(answer)
        return AccountThrottled(
            f"Gmail wants fewer calls. Try again in {wait_s:.0f} seconds.", retry_after_s=wait_s
        )
    if status == 401 or (status == 403 and reason in _TOO_NARROW):
        return AccountUnauthorised("Gmail does not take the authorization, or it is too narrow for this.")
    if status == 403:
        return AccountDenied(f"Gmail does not permit this: {words}")
    if status == 404:
        return ItemMissing("The mailbox has no such message, thread, draft or label. Take ids from a search.")
    if status >= 500:
        return AccountAway("Gmail cannot answer now.", retry_after_s=30)
    return AccountRefused(f"Gmail refuses the request: {words}")


def _read(body: bytes) -> tuple[str, str]:
    """Return the reason's name and the words of an error's body."""
    try:
        error: Any = json.loads(body)["error"]
        details = error.get("errors") or [{}]
        return str(details[0].get("reason", "")), str(error.get("message", ""))[:500]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return "", "(no reason given)"
