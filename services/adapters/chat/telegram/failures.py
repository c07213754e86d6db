"""What Telegram's answers mean for a delivery.

| answer | meaning |
|---|---|
| 429 with `parameters.retry_after` | throttled, for that many seconds |
| 429 without it | throttled, for 5 seconds |
| `parameters.migrate_to_chat_id` | refused, with `new_chat_id` |
| 401, 404 | refused: the token is revoked |
| 403 | refused: blocked, kicked out, or no right to write |
| 400 | refused: the chat, topic or message is gone, or the text is not acceptable |
| 409 | refused |
| 5xx, a broken connection, a timeout, an unreadable answer | away |

Source: https://core.telegram.org/bots/api#making-requests
"""

from __future__ import annotations

from datetime import timedelta

import httpx
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Conflict,
    Forbidden,
    InvalidToken,
    RetryAfter,
    TelegramError,
)

from services.domain.errors import PlatformAway, PlatformRefused, PlatformThrottled, SlipwayError

_REFUSALS = (
    (InvalidToken, "Telegram does not accept the bot's token."),
    (Forbidden, "Telegram does not let the bot write there."),
    (BadRequest, "Telegram refused the request."),
    (Conflict, "Telegram says that the bot is in use elsewhere."),
)
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_DEFAULT_RETRY_S = 5.0


def translate(error: TelegramError) -> SlipwayError:
    """Return the platform error that stands for the library's error.

    `may_have_arrived` says that Telegram may have taken the request although no answer came.
    """
    if isinstance(error, RetryAfter):
        return _throttled(error)
    if isinstance(error, ChatMigrated):
        return PlatformRefused("The group has become a supergroup.", new_chat_id=str(error.new_chat_id))
    # BadRequest is a NetworkError to the library, so refusals are looked up first.
    for refusal, message in _REFUSALS:
        if isinstance(error, refusal):
            return PlatformRefused(message, answer=error.message)
    if error.message.startswith("Too Many Requests"):
        return PlatformThrottled("Telegram asks to slow down.", retry_after_s=_DEFAULT_RETRY_S)
    return PlatformAway(
        "Telegram does not answer.",
        retry_after_s=_DEFAULT_RETRY_S,
        may_have_arrived=not isinstance(error.__cause__, _NOT_SENT),
    )


def is_markup_refused(error: TelegramError) -> bool:
    """Say whether Telegram could not read our HTML."""
    return isinstance(error, BadRequest) and "can't parse entities" in error.message.lower()


def _throttled(error: RetryAfter) -> PlatformThrottled:
    wait = error.retry_after
    seconds = wait.total_seconds() if isinstance(wait, timedelta) else float(wait)
    return PlatformThrottled("Telegram asks to slow down.", retry_after_s=seconds)
