"""What Composio's refusals mean.

Source: https://docs.composio.dev/reference/api-reference (errors)
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
    status, words = answer.status_code, _words(body)
    if status == 429:
        wait_s = retry_after_s(answer)
        return AccountThrottled(
            f"Composio wants fewer calls. Try again in {wait_s:.0f} seconds.", retry_after_s=wait_s
        )
    if status == 401:
        return AccountUnauthorised("Composio does not take the API key.")
    if status == 403:
        return AccountDenied(f"Composio does not permit this: {words}")
    if status == 404:
        return ItemMissing("Composio has no such tool or toolkit. Take slugs from composio_search_tools.")
    if status >= 500:
        return AccountAway("Composio cannot answer now. Try again in a minute.")
    return AccountRefused(f"Composio refuses the request: {words}")


def _words(body: bytes) -> str:
    try:
        error: Any = json.loads(body)["error"]
        return str(error["message"] if isinstance(error, dict) else error)[:500]
    except (ValueError, KeyError, TypeError):
        return "(no reason given)"
