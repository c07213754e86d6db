"""Calls of every tool, made from its schema: arguments that fit, and what stands where an id or a name may stand."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.utils.text import slugify

from services.mcp_gateway.mcp_servers.tools import Tool

_ID_LIKE = re.compile(
    r"(^|_)(id|ids|agent|name|names|slug|workspace|task|playbook|chat|to|destination|account|key|path|folder|"
    r"calendar|repository|message|thread|reply_to|event|draft|label|labels|owner|repo|uid|prefix|query|cursor)$"
)
_WAITS = re.compile(r"(timeout|wait)")
_VOLATILE = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<id>"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)"), "<moment>"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a tool's input an id or a name may stand. `is_id`: only an id fits."""

    field: str
    is_id: bool
    is_list: bool


def variants(schema: dict[str, Any], whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what a value may be, without references and null."""
    if "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    parts = schema.get("anyOf") or schema.get("oneOf") or [schema]
    for part in parts:
        if part is not schema:
            yield from variants({**part}, whole)
        elif part.get("type") != "null":
            yield part


def places_of(tool: Tool[Any]) -> list[Place]:
    """Return where ids and names may stand in a tool's input."""
    whole = tool.input.model_json_schema()
    found = []
    for field, schema in whole.get("properties", {}).items():
        for variant in variants(schema, whole):
            is_list = variant.get("type") == "array"
            inner = next(variants(variant["items"], whole)) if is_list and "items" in variant else variant
            is_id = inner.get("format") == "uuid"
            is_text = inner.get("type") == "string" and "enum" not in inner and "const" not in inner
            if is_id or (is_text and _ID_LIKE.search(field)):
                found.append(Place(field, is_id, is_list))
    return found


def arguments_of(tool: Tool[Any]) -> dict[str, Any]:
    """Return arguments that fit: all that a tool requires, and waits as short as can be."""
    whole = tool.input.model_json_schema()
    given = {}
    for field, schema in whole.get("properties", {}).items():
        if _WAITS.search(field):
            given[field] = next(variants(schema, whole)).get("minimum", 0)
        elif field in whole.get("required", ()):
            given[field] = _value(schema, whole)
    return given


def with_value(tool: Tool[Any], place: Place, value: str) -> dict[str, Any]:
    """Return fitting arguments with a value at a place."""
    return arguments_of(tool) | {place.field: [value] if place.is_list else value}


def _value(schema: dict[str, Any], whole: dict[str, Any]) -> Any:
    variant = next(variants(schema, whole))
    examples = schema.get("examples") or variant.get("examples")
    if examples:
        return examples[0]
    if "const" in variant:
        return variant["const"]
    if "enum" in variant:
        return variant["enum"][0]
    match variant.get("type"):
        case "string" if variant.get("format") == "uuid":
            return str(uuid.uuid4())
        case "string" if variant.get("format") == "date-time":
            return "2031-01-01T00:00:00Z"
        case "string" if variant.get("format") == "date":
            return "2031-01-01"
        case "string":
            return "x" * max(1, variant.get("minLength", 1))
        case "integer" | "number":
            return variant.get("minimum", 1)
        case "boolean":
            return False
        case "array":
            return [_value(variant["items"], whole)] if variant.get("minItems") else []
        case _:
            properties = variant.get("properties", {})
            return {name: _value(properties[name], whole) for name in variant.get("required", ())}


def without(text: str, value: str) -> str:
    """Return a text without what was given, and without what differs from call to call."""
    text = text.replace(value, "<given>").replace(slugify(value), "<given>")
    for pattern, mark in _VOLATILE:
        text = pattern.sub(mark, text)
    return text.replace("<id>", "<given>")
