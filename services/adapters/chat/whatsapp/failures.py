"""What WhatsApp's answers mean for a delivery. The code decides, else the status.

| code or status | meaning |
|---|---|
| 4, 80007, 130429, 131048, 131056, 133016, 429 | throttled: by `Retry-After`, else as `_THROTTLED` says |
| 1, 2, 131000, 131016, 131057, 133004, 5xx, a broken connection, a timeout | away |
| 131047 | refused: the 24 hours are over; a template goes through, if the link has one |
| those of `_REFUSED` | refused, in words that say what to do |
| anything else | refused |

A status that comes later has the same codes. Source:
https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes
"""

from __future__ import annotations

import json
from typing import Any

import httpx

from services.adapters.chat.calls import away
from services.domain.errors import PlatformRefused, PlatformThrottled, SlipwayError

LABEL = "WhatsApp"
WINDOW_CLOSED = 131047
# Seconds to wait, where the answer does not say it: an app's hour, a number's second, a pair's six seconds.
_THROTTLED = {4: 60.0, 80007: 60.0, 130429: 1.0, 131048: 3_600.0, 131056: 6.0, 133016: 3_600.0}
_AWAY = {1, 2, 131000, 131016, 131057, 133004}
_REFUSED = {
    0: "WhatsApp does not accept the access token.",
    10: "The access token lacks a permission.",
    33: "The phone number is gone.",
    100: "WhatsApp does not take the message as it is.",
    190: "The access token is no longer good. Give the link a new one.",
    368: "The business account is restricted for breaking a policy.",
    130472: "WhatsApp keeps marketing from this person for an experiment.",
    131005: "The access token lacks a permission.",
    131008: "WhatsApp misses a part of the message.",
    131009: "WhatsApp does not take a part of the message.",
    131021: "The number cannot write to itself.",
    131026: "The person cannot be reached: no WhatsApp there, or a version that is too old.",
    131030: "The number is a test number, and the person is not among those it may write to.",
    131031: "The business account is locked.",
    131037: "The number's display name is not approved yet.",
    131020: "The group has no other member.",
    131041: "WhatsApp does not know the group, or the number is not in it.",
    131042: "WhatsApp cannot charge the business account. Its payment method has to be put right.",
    131045: "The number is not registered.",
    131049: "WhatsApp does not deliver this now, so that the person is not written to too often.",
    131050: "The person does not want marketing of this business.",
    131051: "WhatsApp does not know this type of message.",
    131052: "WhatsApp cannot fetch the file.",
    131053: "WhatsApp does not take the file.",
    131207: "WhatsApp has suspended the group.",
    132000: "The template has another number of variables. It needs one, in its body.",
    132001: "There is no such template in this language, or it is not approved.",
    132005: "The text is too long for the template.",
    132007: "The template breaks a rule of WhatsApp's.",
    132012: "The template's variable is of another kind. It needs one for text, in its body.",
    132015: "The template is paused, as people did not like it.",
    132016: "The template is disabled.",
    133010: "The number is not registered.",
    WINDOW_CLOSED: (
        "The person has not written for 24 hours, and until they do WhatsApp takes templates only. Name one in the "
        "link's configuration, or ask the person to write."
    ),
}


def translate(answer: httpx.Response) -> SlipwayError:
    """Return the platform error that an answer stands for."""
    error = _error_of(answer)
    code, words = _whole(error.get("code")), words_of(error)
    if code in _THROTTLED or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        wait_s = _retry_after(answer) or _THROTTLED.get(code, 5.0)
        return PlatformThrottled("WhatsApp asks to slow down.", retry_after_s=wait_s)
    if code in _AWAY or answer.status_code >= 500 or not error:
        return away(LABEL, may_have_arrived=True)
    return PlatformRefused(explain(code), answer=words, code=code)


def explain(code: int) -> str:
    """Say what a code means and what to do about it."""
    if 200 <= code <= 299:
        return "The access token lacks a permission."
    return _REFUSED.get(code, "WhatsApp refused the request.")


def words_of(error: dict[str, Any]) -> str:
    """Return an error's own words."""
    details = error.get("error_data")
    more = details.get("details") if isinstance(details, dict) else None
    return " ".join(str(words) for words in (error.get("message") or error.get("title"), more) if words)[:500]


def _error_of(answer: httpx.Response) -> dict[str, Any]:
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {}


def _retry_after(answer: httpx.Response) -> float | None:
    """Read how long to wait, in seconds; of an account's limit it is told in minutes, within JSON."""
    given = answer.headers.get("retry-after", "")
    if given.isascii() and given.isdigit():
        return float(given)
    try:
        usage = json.loads(answer.headers.get("x-business-use-case-usage", "{}"))
        minutes = [
            float(each["estimated_time_to_regain_access"]) for entries in usage.values() for each in entries
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return max(minutes, default=0.0) * 60 or None


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else -1
