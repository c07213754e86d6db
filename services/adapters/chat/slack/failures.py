"""What Slack's answers mean for a delivery.

| answer | meaning |
|---|---|
| 429, or `ratelimited` | throttled, for `Retry-After` seconds |
| an error code of the table below | away |
| any other error code | refused |
| 5xx, a broken connection, a timeout, an answer that is not JSON | away |

Source: https://docs.slack.dev/reference/methods/chat.postMessage (errors),
https://docs.slack.dev/apis/web-api/rate-limits
"""

from __future__ import annotations

import http.client
import re
import socket
from urllib.error import URLError

from slack_sdk.errors import SlackApiError

from services.domain.errors import PlatformAway, PlatformRefused, PlatformThrottled, SlipwayError

# What the client lets through when a call gets no answer.
TRANSPORT_ERRORS = (OSError, http.client.HTTPException)

_AWAY = {
    "internal_error",
    "service_unavailable",
    "fatal_error",
    "request_timeout",
    "team_added_to_org",
}
_REFUSED = {
    "channel_not_found": "Slack does not know the channel, or the app cannot see it.",
    "not_in_channel": "The app is not in the channel.",
    "is_archived": "The channel is archived.",
    "account_inactive": "The app's account in this workspace is gone.",
    "token_revoked": "The app's token is revoked.",
    "token_expired": "The app's token has expired.",
    "invalid_auth": "Slack does not accept the app's token.",
    "not_authed": "Slack does not accept the app's token.",
    "not_allowed_token_type": "Slack does not accept this kind of token here.",
    "missing_scope": "The app lacks a permission.",
    "restricted_action": "A rule of the workspace does not let the app write there.",
    "no_text": "Slack refuses an empty message.",
    "msg_too_long": "Slack finds the message too long.",
}
_THROTTLED = {"ratelimited", "rate_limited", "message_limit_exceeded"}
_DEFAULT_RETRY_S = 5.0


def translate(error: Exception) -> SlipwayError:
    """Return the platform error that stands for the client's error.

    `may_have_arrived` says that Slack may have taken the request although no answer came.
    """
    if isinstance(error, SlackApiError):
        return _translate_answer(error)
    return _away(may_have_arrived=not _is_unsent(error))


def _translate_answer(error: SlackApiError) -> SlipwayError:
    response = error.response
    status, headers = getattr(response, "status_code", 200), getattr(response, "headers", {})
    answer = response.get("error")
    code = answer if isinstance(answer, str) else ""
    if status == 429 or code in _THROTTLED:
        return PlatformThrottled("Slack asks to slow down.", retry_after_s=_retry_after(headers))
    # An answer that is not JSON has a sentence of the client's in place of a code.
    if status >= 500 or code in _AWAY or not re.fullmatch("[a-z_]+", code):
        return _away(may_have_arrived=True)
    return PlatformRefused(_REFUSED.get(code, "Slack refused the request."), answer=code)


def _away(*, may_have_arrived: bool) -> PlatformAway:
    return PlatformAway(
        "Slack does not answer.", retry_after_s=_DEFAULT_RETRY_S, may_have_arrived=may_have_arrived
    )


def _retry_after(headers: object) -> float:
    values = headers if isinstance(headers, dict) else {}
    found = next((value for name, value in values.items() if name.lower() == "retry-after"), "")
    try:
        return max(float(found), 0.0)
    except ValueError:
        return _DEFAULT_RETRY_S


def _is_unsent(error: Exception) -> bool:
    """Say whether the connection failed before anything was sent."""
    reason = error.reason if isinstance(error, URLError) else error
    return isinstance(reason, ConnectionRefusedError | socket.gaierror)
