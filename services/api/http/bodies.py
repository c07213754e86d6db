"""Reading what a caller sent: JSON that can be stored, and closed models that say what is wrong with it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from django.http import HttpRequest
from pydantic import BaseModel, ConfigDict, ValidationError
from rest_framework.exceptions import UnsupportedMediaType

from services.domain.errors import BodyTooLarge, Invalid, MalformedBody, UnknownField

MAX_DEPTH = 60
# PostgreSQL takes neither in a text.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

ModelT = TypeVar("ModelT", bound=BaseModel)


class Closed(BaseModel):
    """The base of every input: unknown fields are refused, and errors do not repeat what was sent."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class NoFields(Closed):
    """The body of an operation that takes none: nothing, or an empty object."""


def read_body(request: HttpRequest, model: type[ModelT]) -> ModelT:
    """Read a JSON body as a model. Raises: MalformedBody, Invalid, UnknownField, UnsupportedMediaType."""
    raw = request.body
    if not raw and issubclass(model, NoFields):
        return model()
    if not raw:
        # A chunked body has no length and is not read, so it looks empty too.
        raise MalformedBody("The body is empty. Send JSON with a Content-Length.")
    content_type = (request.content_type or "").lower()
    if content_type != "application/json":
        raise UnsupportedMediaType(content_type)
    return validated(model, _read_json(raw))


def read_query(request: HttpRequest, model: type[ModelT], *, ignored: frozenset[str]) -> ModelT:
    """Read the query string as a model. Raises: Invalid, UnknownField."""
    given = {name: value for name, value in request.GET.items() if name not in ignored}
    refuse_unstorable(given)
    return validated(model, given)


def read_raw(request: HttpRequest, *, max_bytes: int) -> bytes:
    """Return a body as it came. Raises: BodyTooLarge."""
    try:
        length = int(request.headers.get("Content-Length") or 0)
    except ValueError as error:
        raise MalformedBody("The Content-Length is not a number.") from error
    if length > max_bytes:
        raise BodyTooLarge(f"The body is larger than {max_bytes} bytes.", max_bytes=max_bytes)
    return request.body


def validated(model: type[ModelT], values: Any) -> ModelT:
    """Build a model. Raises: Invalid, or UnknownField when unknown fields are all that is wrong."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise explain(error) from error


def explain(error: ValidationError) -> Invalid:
    """Turn pydantic's findings into one of our errors, field by field, without repeating the input."""
    findings = error.errors(include_url=False, include_context=False, include_input=False)
    fields = {
        ".".join(str(part) for part in found["loc"]) or "body": _reason(found) for found in findings[:50]
    }
    if all(found["type"] == "extra_forbidden" for found in findings):
        return UnknownField("There are unknown fields.", fields=fields)
    return Invalid("The input is not valid.", fields=fields)


def _reason(found: Mapping[str, Any]) -> str:
    return "unknown field" if found["type"] == "extra_forbidden" else str(found["msg"])[:300]


def refuse_unstorable(value: Any, path: str = "", depth: int = 0) -> None:
    """Refuse texts that no database can hold, numbers beyond all bounds, and bottomless nesting. Raises: Invalid."""
    if depth > MAX_DEPTH:
        raise MalformedBody(f"The body is nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, str) and _UNSTORABLE.search(value):
        raise Invalid(
            "A text holds characters that cannot be stored.", fields={path or "body": "NUL or surrogate"}
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise Invalid("A number is too large.", fields={path or "body": "out of bounds"})
    if isinstance(value, dict):
        for key, item in value.items():
            refuse_unstorable(key, f"{path}.{_shown(key)}".lstrip("."), depth + 1)
            refuse_unstorable(item, f"{path}.{_shown(key)}".lstrip("."), depth + 1)
    if isinstance(value, list):
        for index, item in enumerate(value):
            refuse_unstorable(item, f"{path}.{index}".lstrip("."), depth + 1)


def _shown(key: str) -> str:
    return _UNSTORABLE.sub("\ufffd", key)[:60]


def _read_json(raw: bytes) -> Any:
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedBody("The body is not valid JSON.") from error
    if not isinstance(value, dict):
        raise MalformedBody("The body is not a JSON object.")
    refuse_unstorable(value)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
