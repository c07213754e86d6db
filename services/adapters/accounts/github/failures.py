"""What GitHub's refusals mean.

Source: https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api
"""

from __future__ import annotations

import json
import time
from typing import Any

import httpx2

from services.domain.errors import (
    AccountAway,
    AccountDenied,
    AccountRefused,
    AccountThrottled,
    AccountUnauthorised,
    ItemMissing,
    SlipwayError,
)

_DEFAULT_WAIT_S = 60.0
_MAX_WAIT_S = 3_600.0


def failure_of(answer: httpx2.Response) -> SlipwayError:
    """Return the error that an answer of the API stands for."""
    status, words = answer.status_code, words_of(answer)
    wait_s = wait_of(answer)
    if wait_s is not None:
        return AccountThrottled(
            f"GitHub wants fewer calls. Try again in {wait_s:.0f} seconds.", retry_after_s=wait_s
        )
    if status == 401:
        return AccountUnauthorised("GitHub does not take the app's token.")
    if status in (403, 451):
        return AccountDenied(f"GitHub does not permit this: {words}")
    if answer.is_redirect:
        return ItemMissing(
            "The repository was renamed or moved. A person must name it anew in the account's settings."
        )
    if status in (404, 410):
        return ItemMissing(
            "The repository has no such issue, pull request, branch or file, or it cannot be seen."
        )
    if status >= 500:
        return AccountAway("GitHub cannot answer now.", retry_after_s=30)
    return AccountRefused(f"GitHub refuses the request: {words}")


def failure_of_token(answer: httpx2.Response, repository: str, permissions: dict[str, str]) -> SlipwayError:
    """Return the error that stands for a token that was not given."""
    status = answer.status_code
    wait_s = wait_of(answer)
    if wait_s is not None:
        return AccountThrottled(
            f"GitHub wants fewer calls. Try again in {wait_s:.0f} seconds.", retry_after_s=wait_s
        )
    if status in (401, 403, 404):
        return AccountUnauthorised(
            f"GitHub does not let the app in: {words_of(answer)} The key was replaced, or the app is not installed "
            "or was suspended."
        )
    if status == 422:
        rights = ", ".join(f"{name}: {level}" for name, level in permissions.items())
        return AccountDenied(
            f"The GitHub App has no access to {repository}, or not the right to {rights}. A person can change that "
            "where the app is installed."
        )
    if status >= 500:
        return AccountAway("GitHub cannot answer now.", retry_after_s=30)
    return AccountRefused(f"GitHub gives no token: {words_of(answer)}")


def wait_of(answer: httpx2.Response) -> float | None:
    """Return how long to wait, in seconds, when an answer says that there were too many calls."""
    if answer.status_code not in (403, 429):
        return None
    after = answer.headers.get("retry-after", "")
    if after.isascii() and after.isdigit():
        return min(float(after), _MAX_WAIT_S)
    reset = answer.headers.get("x-ratelimit-reset", "")
    if answer.headers.get("x-ratelimit-remaining") == "0" and reset.isascii() and reset.isdigit():
        return min(max(float(reset) - time.time(), 1.0), _MAX_WAIT_S)
    is_secondary = "secondary rate limit" in words_of(answer).lower()
    return _DEFAULT_WAIT_S if answer.status_code == 429 or is_secondary else None


def words_of(answer: httpx2.Response) -> str:
    """Return an error's own words, with what it says of single fields."""
    try:
        body: Any = json.loads(answer.content)
        parts = [str(body.get("message", ""))]
        for error in body.get("errors") or ():
            parts.append(str(error.get("message") or error) if isinstance(error, dict) else str(error))
        return " ".join(part for part in parts if part)[:800] or "(no reason given)"
    except (ValueError, AttributeError, TypeError):
        return "(no reason given)"
