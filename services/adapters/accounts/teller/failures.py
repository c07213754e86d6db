"""What Teller's refusals mean.

Source: https://teller.io/docs/api (errors)
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


def failure_of(answer: httpx2.Response, body: bytes) -> SlipwayError:
    """Return the error that an answer other than 2xx stands for."""
    code, words = _read(body)
    status = answer.status_code
    if code.startswith("enrollment.disconnected"):
        return AccountDenied(
            "The bank has ended this enrollment: the person must connect the bank again with Teller."
        )
    if status == 429:
        wait_s = retry_after_s(answer)
        return AccountThrottled(
            f"Teller wants fewer calls. Try again in {wait_s:.0f} seconds.", retry_after_s=wait_s
        )
    if status in (401, 403):
        return AccountUnauthorised("Teller does not take the certificate or an access token.")
    if status == 410:
        return ItemMissing("This bank account was closed, or the person no longer shares it.")
    if status == 404:
        return ItemMissing("There is no such bank account. Take ids from teller_list_accounts.")
    if status >= 500:
        return AccountAway("Teller, or the bank behind it, cannot answer now. Try again in a minute.")
    return AccountRefused(f"Teller refuses the request: {words}")


def _read(body: bytes) -> tuple[str, str]:
    """Return the code and the words of an error's body."""
    try:
        error: Any = json.loads(body)["error"]
        return str(error.get("code", "")), str(error.get("message", ""))[:500]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", "(no reason given)"
