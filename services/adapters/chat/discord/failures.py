"""What Discord's answers mean for a delivery.

| answer | meaning |
|---|---|
| 429 | throttled, for `retry_after` seconds; for all calls of the bot if it is `global` |
| 5xx, a broken connection, a timeout, an answer that is not JSON | away |
| any other 4xx | refused, with Discord's own code |

Source: https://docs.discord.com/developers/topics/opcodes-and-status-codes,
https://docs.discord.com/developers/topics/rate-limits
"""

from __future__ import annotations

from typing import Any

import httpx

from services.domain.errors import PlatformAway, PlatformRefused, PlatformThrottled, SlipwayError

UNKNOWN_CHANNEL, UNKNOWN_MESSAGE, UNKNOWN_WEBHOOK, UNKNOWN_INTERACTION = 10003, 10008, 10015, 10062
INVALID_WEBHOOK_TOKEN = 50027
INTERACTION_ANSWERED = 40060
THREAD_EXISTS = 160004
# The bot lacks a right there, or there is no place of that kind.
CANNOT_OPEN_THREADS = (50001, 50013, 50024, 50008, 10003, 10008, 160005, 160006)

_REFUSED = {
    UNKNOWN_CHANNEL: "Discord does not know the channel, or the bot cannot see it.",
    UNKNOWN_MESSAGE: "Discord does not know the message.",
    10014: "Discord does not know the emoji.",
    20028: "The bot writes too much there.",
    30010: "The message has as many different reactions as it may have.",
    40005: "Discord finds the file too large.",
    50001: "The bot may not see the channel.",
    50006: "Discord refuses an empty message.",
    50007: "The person takes no direct messages from the bot.",
    50013: "The bot lacks a permission there.",
    50083: "The thread is archived.",
}
_DEFAULT_RETRY_S = 5.0


def translate_error(error: httpx.HTTPError) -> SlipwayError:
    """Return the platform error for a call that got no answer. `may_have_arrived`: Discord may have taken it."""
    is_unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    return _away(may_have_arrived=not is_unsent)


def translate_answer(response: httpx.Response) -> SlipwayError:
    """Return the platform error for an answer that is no success."""
    answer = _object(response)
    if response.status_code == 429:
        return PlatformThrottled("Discord asks to slow down.", retry_after_s=retry_after_s(response, answer))
    if response.status_code >= 500:
        return _away(may_have_arrived=True)
    code = answer.get("code")
    if response.status_code == 401:
        return PlatformRefused("Discord does not accept the bot's token.", answer=str(code or 401), code=code)
    said = str(answer.get("message", ""))[:200]
    message = (
        _REFUSED.get(code, "Discord refused the request.") if isinstance(code, int) else "Discord refused."
    )
    return PlatformRefused(message, answer=f"{code}: {said}", code=code)


def unreadable() -> SlipwayError:
    """Return the platform error for a success that is not JSON."""
    return _away(may_have_arrived=True)


def is_refused_as(error: PlatformRefused, *codes: int) -> bool:
    """Say whether Discord gave one of these codes."""
    return error.details.get("code") in codes


def retry_after_s(response: httpx.Response, answer: dict[str, Any]) -> float:
    """Return how long to wait: the body says it to the millisecond, the header in whole seconds."""
    for value in (answer.get("retry_after"), response.headers.get("retry-after")):
        try:
            return max(float(value), 0.0)  # type: ignore[arg-type]  # what is no number is caught
        except (TypeError, ValueError):
            continue
    return _DEFAULT_RETRY_S


def is_global(response: httpx.Response) -> bool:
    """Say whether a 429 is about all calls of the bot."""
    return response.headers.get("x-ratelimit-scope") == "global" or _object(response).get("global") is True


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _away(*, may_have_arrived: bool) -> PlatformAway:
    return PlatformAway(
        "Discord does not answer.", retry_after_s=_DEFAULT_RETRY_S, may_have_arrived=may_have_arrived
    )
