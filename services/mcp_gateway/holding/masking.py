"""Arguments as people may see them: what the tool's schema marks as secret is masked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MASK = "••••••"
_MAX_DEPTH = 30
_ALTERNATIVES = ("anyOf", "oneOf", "allOf")


def masked(arguments: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with every value masked that the schema marks `writeOnly`, or as a password."""
    shown = _masked(arguments, [schema], schema, 0)
    return shown if isinstance(shown, dict) else {}


def _masked(value: Any, schemas: list[Any], root: dict[str, Any], depth: int) -> Any:
    meant = [found for schema in schemas for found in _resolved(schema, root, 0)]
    if value is not None and any(_is_secret(schema) for schema in meant):
        return MASK
    if depth > _MAX_DEPTH:
        return value
    if isinstance(value, dict):
        return {key: _masked(item, _of_property(meant, key), root, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        items = [schema.get("items") for schema in meant]
        return [_masked(item, items, root, depth + 1) for item in value]
    return value


def _is_secret(schema: dict[str, Any]) -> bool:
    return schema.get("writeOnly") is True or schema.get("format") == "password"


def _of_property(schemas: list[dict[str, Any]], key: str) -> list[Any]:
    found: list[Any] = []
    for schema in schemas:
        properties = schema.get("properties")
        if isinstance(properties, dict) and key in properties:
            found.append(properties[key])
        else:
            found.append(schema.get("additionalProperties"))
    return found


def _resolved(schema: Any, root: dict[str, Any], depth: int) -> Iterator[dict[str, Any]]:
    """Yield a schema and all that it may stand for: its alternatives, and what it refers to in the same document."""
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return
    yield schema
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        target: Any = root
        for part in reference[2:].split("/"):
            target = target.get(part) if isinstance(target, dict) else None
        yield from _resolved(target, root, depth + 1)
    for name in _ALTERNATIVES:
        alternatives = schema.get(name)
        for alternative in alternatives if isinstance(alternatives, list) else ():
            yield from _resolved(alternative, root, depth + 1)
