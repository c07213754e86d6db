"""Answers that a program reads: JSON by a schema, which is checked when the task ends."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from services.domain.errors import Invalid

MAX_SCHEMA_CHARS = 20_000
# A Python pattern over what a model wrote could take for ever; references outside would be fetched by whom?
_REFUSED = ("pattern", "patternProperties", "$dynamicRef")
_FENCED = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n\s*```\s*\Z", re.DOTALL)


def refuse_schema(schema: dict[str, Any] | None) -> None:
    """Refuse what is no JSON Schema of 2020-12 that can be checked here. Raises: Invalid."""
    if schema is None:
        return
    fault = _fault(schema)
    if fault:
        raise Invalid("The output schema is not usable.", fields={"output_schema": fault})


def ask_for_json(schema: dict[str, Any] | None) -> str:
    """Return what an agent is told of the form of its answer; empty when it is free."""
    if schema is None:
        return ""
    written = json.dumps(schema, ensure_ascii=False)
    return f"A program reads your final answer. It is JSON alone, with no other text, by this JSON Schema: {written}"


def read_output(text: str, schema: dict[str, Any]) -> tuple[Any, str]:
    """Return the value of an answer and what is wrong with it, which is empty when it is as the schema says.

    A fence around the JSON is taken off: models put one however they are asked.
    """
    fenced = _FENCED.match(text)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return None, "The answer is not JSON."
    try:
        error: ValidationError | None = next(_validator(schema).iter_errors(value), None)
    except (Unresolvable, RecursionError):
        return None, "The schema refers to something that is not in it."
    if error is None:
        return value, ""
    where = "/".join(str(part) for part in error.absolute_path) or "the answer"
    return None, f"The answer is not as its schema says, at {where}: it breaks `{error.validator}`."


def _validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(schema, registry=Registry())


def _fault(schema: dict[str, Any]) -> str:
    if len(json.dumps(schema)) > MAX_SCHEMA_CHARS:
        return f"longer than {MAX_SCHEMA_CHARS} characters"
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"no JSON Schema: {error.message[:200]}"
    for name, value in _members(schema):
        if name in _REFUSED:
            return f"{name} is not supported"
        if name == "$ref" and not (isinstance(value, str) and value.startswith("#")):
            return "a $ref leads outside of the schema"
    return ""


def _members(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield name, value
            yield from _members(value)
    elif isinstance(node, list):
        for value in node:
            yield from _members(value)
