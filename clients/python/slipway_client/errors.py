"""What can go wrong between a program and a Slipway server.

The tree::

    SlipwayError
    ├── ConnectionFailed            nobody answered, or the answer broke off
    │   └── StreamLost              a stream stayed away for longer than the caller's patience; `cursor` goes on with it
    ├── TaskNotSucceeded            a task ended otherwise than in success (`task`)
    └── ApiError                    the server refused: `status`, `code`, `message`, `details`, `request_id`
        ├── BadRequest        400, 413, 415, 416
        ├── Unauthenticated   401
        ├── NotPermitted      403
        ├── NotFound          404   also for whatever belongs to another organisation
        ├── Conflict          409, 412
        ├── Limited           429   `retry_after_s`
        └── ServerFailed      5xx   `retry_after_s`

`code` is stable, and what a program decides by; `message` is for people.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slipway_client.types import Task


class SlipwayError(Exception):
    """The root of all that this package raises."""


class ConnectionFailed(SlipwayError):
    """Nobody answered, or the answer broke off."""


class StreamLost(ConnectionFailed):
    """A stream could not be had again in time. Events up to `cursor` were given."""

    def __init__(self, message: str, cursor: int | None) -> None:
        super().__init__(message)
        self.cursor = cursor


class TaskNotSucceeded(SlipwayError):
    """The task failed, was cancelled or expired."""

    def __init__(self, task: Task) -> None:
        said = task["error"]
        super().__init__(f"{said['message']} ({said['code']})" if said else f"The task {task['status']}.")
        self.task = task


class ApiError(SlipwayError):
    """The server's refusal. `retry_after_s` is when it may be asked again, if it said so."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{message} ({code})")
        self.status = status
        self.code = code
        self.message = message
        self.details = dict(details or {})
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class BadRequest(ApiError): ...


class Unauthenticated(ApiError): ...


class NotPermitted(ApiError): ...


class NotFound(ApiError): ...


class Conflict(ApiError): ...


class Limited(ApiError): ...


class ServerFailed(ApiError): ...


_BY_STATUS: dict[int, type[ApiError]] = {
    401: Unauthenticated,
    403: NotPermitted,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    429: Limited,
}


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """Return the error that an answer means, whatever its body is."""
    kind = _BY_STATUS.get(status) or (ServerFailed if status >= 500 else BadRequest)
    said = _said(body)
    return kind(
        status,
        str(said.get("code") or f"http_{status}"),
        str(said.get("message") or f"The server answered {status}."),
        details=said["details"] if isinstance(said.get("details"), dict) else None,
        request_id=str(said.get("request_id") or headers.get("x-request-id", "")),
        retry_after_s=read_retry_after(headers.get("retry-after", "")),
    )


def read_retry_after(text: str) -> float | None:
    """Return a Retry-After in seconds; None for none that can be read. Source: RFC 9110, section 10.2.3."""
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)


def _said(body: bytes) -> dict[str, Any]:
    try:
        read = json.loads(body)
    except ValueError:
        return {}
    found = read.get("error") if isinstance(read, dict) else None
    # OAuth's endpoints say {"error": "slow_down", "error_description": "…"}.
    if isinstance(found, str):
        return {"code": found, "message": read.get("error_description", "")}
    return found if isinstance(found, dict) else {}
