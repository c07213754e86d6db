"""The one body that every error has, and JSON answers."""

from __future__ import annotations

import json
import math
import uuid
from typing import Any

from services.domain.errors import SlipwayError

Headers = list[tuple[bytes, bytes]]

JSON_HEADERS: Headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]


def json_body(content: Any) -> bytes:
    """Return content as JSON bytes."""
    return json.dumps(content, separators=(",", ":"), default=str).encode()


def details_of(error: SlipwayError) -> Any:
    """Return an error's details as plain JSON values."""
    return json.loads(json_body({name: value for name, value in error.details.items() if value is not None}))


def failure_body(error: SlipwayError) -> bytes:
    """Return the contract's error body."""
    shown = {
        "code": error.code,
        "message": error.message,
        "details": details_of(error),
        "request_id": str(uuid.uuid4()),
    }
    return json_body({"error": shown})


def failure_headers(error: SlipwayError) -> Headers:
    """Return the headers that belong to an error."""
    headers = list(JSON_HEADERS)
    if error.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="slipway"'))
    wait = getattr(error, "retry_after_s", None)
    if wait is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(wait))).encode()))
    return headers
