"""Reading JSON that a stranger sent, so that all of it can be stored and none of it surprises a parser."""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Any, NoReturn

from services.domain.errors import MalformedBody

# PostgreSQL takes neither NUL nor lone surrogates. Each is replaced by one character of the same length in
# UTF-16, because platforms count their offsets in it.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_KEY_CHARS = 200


def storable(text: str) -> str:
    """Replace the characters that no database text can hold."""
    return _UNSTORABLE.sub("\ufffd", text)


def read_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object whose strings and numbers can all be stored. Raises: MalformedBody."""
    try:
        value = _storable_value(json.loads(body.decode("utf-8"), parse_constant=_refuse_constant))
    except (ValueError, RecursionError) as error:
        raise MalformedBody("The body is not valid JSON.") from error
    if not isinstance(value, dict):
        raise MalformedBody("The body is not a JSON object.")
    return value


def _storable_value(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(key): _storable_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def short_key(*parts: str) -> str:
    """Join what makes something unique to a key of at most 200 characters, which is what a row holds."""
    key = ":".join(parts)
    return key if len(key) <= _KEY_CHARS else hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
