"""Errors in the vendors' shapes, so that their clients understand them.

Source: platform.claude.com/docs/en/api/errors; platform.openai.com/docs/guides/error-codes; what the CLIs try again:
docs/models.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse, Response

from services.domain.errors import BudgetExceeded, Missing, SlipwayError, Unauthenticated


@dataclass(eq=False)
class Refusal(Exception):
    """An answer of the proxy's own in place of the vendor's. `code` is ours and stable, `kind` Anthropic's."""

    status: int
    kind: str
    code: str
    message: str
    may_retry: bool = False
    retry_after_s: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    """Further fields of the error, such as when a budget renews."""

    def headers(self) -> dict[str, str]:
        """Return the headers of the answer. The vendors' libraries obey `x-should-retry` whatever the status."""
        headers = {"x-should-retry": "true" if self.may_retry else "false"}
        if self.retry_after_s is not None:
            headers["retry-after"] = str(self.retry_after_s)
        if self.status == 401:
            headers["www-authenticate"] = f'Bearer error="invalid_token", error_description="{self.message}"'
        return headers


def anthropic_response(refusal: Refusal) -> Response:
    """Return a refusal as the Anthropic API would say it."""
    error = {
        "type": refusal.kind,
        "message": f"{refusal.code}: {refusal.message}",
        "code": refusal.code,
        **refusal.extra,
    }
    return JSONResponse({"type": "error", "error": error}, refusal.status, refusal.headers())


_OPENAI_KINDS = {
    "api_error": "server_error",
    "billing_error": "insufficient_quota",
    "rate_limit_error": "rate_limit_exceeded",
}


def openai_response(refusal: Refusal) -> Response:
    """Return a refusal as the OpenAI API would say it."""
    error = {
        "message": f"{refusal.code}: {refusal.message}",
        "type": _OPENAI_KINDS.get(refusal.kind, "invalid_request_error"),
        "param": None,
        "code": refusal.code,
        **refusal.extra,
    }
    return JSONResponse({"error": error}, refusal.status, refusal.headers())


def refusal_of(error: SlipwayError) -> Refusal:
    """Translate one of our errors."""
    if isinstance(error, BudgetExceeded):
        # The CLI stops at a 402 at once; at a 400 it tries five variants, at a 429 it goes on for minutes.
        told = ("level", "period", "renews_at")
        extra = {name: error.details[name] for name in told if error.details.get(name) is not None}
        return Refusal(402, "billing_error", error.code, error.message, extra=extra)
    if isinstance(error, Unauthenticated | Missing):
        # A task that is gone has no good token any more.
        return Refusal(401, "authentication_error", "token_invalid", error.message)
    return Refusal(400, "invalid_request_error", error.code, error.message)


def not_found() -> Refusal:
    """Return the answer for what the proxy does not pass on."""
    return Refusal(404, "not_found_error", "not_found", "The gateway does not pass this on.")


def invalid(message: str) -> Refusal:
    """Return the answer to a request that cannot be read."""
    return Refusal(400, "invalid_request_error", "invalid", message)


def busy(message: str, *, retry_after_s: int = 2) -> Refusal:
    """Return the answer for what will pass."""
    return Refusal(503, "api_error", "temporary", message, may_retry=True, retry_after_s=retry_after_s)


def rate_limited(message: str, retry_after_s: int) -> Refusal:
    """Return the answer to a task that calls too often."""
    return Refusal(
        429, "rate_limit_error", "rate_limited", message, may_retry=True, retry_after_s=retry_after_s
    )
