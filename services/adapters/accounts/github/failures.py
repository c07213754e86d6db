"""What GitHub's refusals mean.

Source: https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api
"""

from __future__ import annotations

import httpx2

from services.adapters.github_app import wait_of, words_of
from services.domain.errors import (
    AccountAway,
    AccountDenied,
    AccountRefused,
    AccountThrottled,
    AccountUnauthorised,
    ItemMissing,
    SlipwayError,
)


def failure_of(answer: httpx2.Response) -> SlipwayError:
    """Return the error that an answer of the API stands for."""
    status, words = answer.status_code, words_of(answer.content)
    wait_s = _wait_of(answer)
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
    wait_s = _wait_of(answer)
    if wait_s is not None:
        return AccountThrottled(
            f"GitHub wants fewer calls. Try again in {wait_s:.0f} seconds.", retry_after_s=wait_s
        )
    if status in (401, 403, 404):
        return AccountUnauthorised(
            f"GitHub does not let the app in: {words_of(answer.content)} The key was replaced, or the app is not "
            "installed or was suspended."
        )
    if status == 422:
        rights = ", ".join(f"{name}: {level}" for name, level in permissions.items())
        return AccountDenied(
            f"The GitHub App has no access to {repository}, or not the right to {rights}. A person can change that "
            "where the app is installed."
        )
    if status >= 500:
        return AccountAway("GitHub cannot answer now.", retry_after_s=30)
    return AccountRefused(f"GitHub gives no token: {words_of(answer.content)}")


def _wait_of(answer: httpx2.Response) -> float | None:
    return wait_of(answer.status_code, answer.headers, answer.content)
