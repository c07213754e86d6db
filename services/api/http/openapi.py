"""The OpenAPI 3.1 document, made from the table of routes and the annotations of their operations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from services.api.http.conditions import ETAG, IF_MATCH, IF_NONE_MATCH
from services.api.http.failures import ErrorBody
from services.api.http.idempotency import IDEMPOTENCY_KEY, MAX_KEY_CHARS
from services.api.http.operations import Download, Endpoint, Operation
from services.api.http.rates import RATE_LIMIT, RATE_LIMIT_POLICY
from services.domain.errors import IdempotencyKeyInUse, IdempotencyKeyReused, PreconditionFailed

Routes = Iterable[tuple[str, type[Endpoint]]]

_ID = re.compile(r"<uuid:(\w+)>")
_REF = "#/components/schemas/{model}"
# What any operation may answer: in words, and the codes that say it.
_ALWAYS: dict[str, tuple[str, tuple[str, ...]]] = {
    "400": ("The input is not valid", ("invalid", "unknown_field", "malformed_body")),
    "401": ("Nobody, or nobody any more", ("unauthenticated", "token_invalid")),
    "403": ("The actor may not do this", ("scope_missing", "role_missing", "csrf_failed")),
    "404": ("There is no such thing, or not in this organisation", ("not_found",)),
    "405": ("The path has no such method", ("method_not_allowed",)),
    "413": ("The body is too large", ("body_too_large",)),
    "415": ("The body is not JSON by its Content-Type", ("unsupported_media_type",)),
    "429": ("A limit is reached; `Retry-After` says when to come back", ("rate_limited", "limited")),
    "503": ("It may work when tried again, after `Retry-After` seconds", ("temporary",)),
}
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_OTHERWISE = {
    "416": "The file has no such bytes",
    "409": "It exists, but not in a state that allows this",
    "412": "The object is not the version that `If-Match` names",
    "422": "The key was used with another request",
    "502": "A party outside refused for good",
}

_SAID = {
    IDEMPOTENCY_KEY: "Makes a retry harmless: the same request with the same key gets the first one's answer.",
    IF_MATCH: "An `ETag`: the object is changed only if it still is this version.",
    IF_NONE_MATCH: "An `ETag`: 304 if the object still is this version.",
}
_TEXT = {"schema": {"type": "string"}}
_RATES = {
    RATE_LIMIT: {
        "description": "What is left of each limit, and in how many seconds it is whole again.",
        **_TEXT,
    },
    RATE_LIMIT_POLICY: {
        "description": "So many requests in so many seconds, of a token and of its organisation.",
        **_TEXT,
    },
}

Document = dict[str, Any]


def build_document(routes: Routes, *, title: str, version: str, server: str) -> Document:
    """Return the document of these routes."""
    table = list(routes)
    references, schemas = _schemas(table)
    paths: Document = {}
    for route, endpoint in table:
        described = {
            method: _operation(route, endpoint, method, operation, references)
            for method, operation in endpoint.operations().items()
        }
        paths["/" + _ID.sub(r"{\1}", route)] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": server}],
        "security": [{"bearer": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API token, `sw_…`."},
                "session": {
                    "type": "apiKey", "in": "cookie", "name": "slipway_session",
                    "description": "A signed-in person's browser; changes need the CSRF token in `X-CSRFToken`.",
                },
            },
        },
    }  # fmt: skip


def _models(routes: Routes) -> Iterator[tuple[type[BaseModel], JsonSchemaMode]]:
    for _, endpoint in routes:
        for operation in endpoint.operations().values():
            if operation.body is not None:
                yield operation.body, "validation"
            yield operation.query, "validation"
            if operation.answer not in (None, Download):
                yield operation.answer, "serialization"
    yield ErrorBody, "serialization"


def _schemas(routes: Routes) -> tuple[dict[Any, Any], Document]:
    references, definitions = models_json_schema(list(dict.fromkeys(_models(routes))), ref_template=_REF)
    schemas: Document = dict(definitions["$defs"])
    # Queries are spread over parameters, and nothing else refers to them.
    queries = {
        operation.query.__name__ for _, endpoint in routes for operation in endpoint.operations().values()
    }
    return references, {name: schema for name, schema in schemas.items() if name not in queries}


def _operation(
    route: str, endpoint: type[Endpoint], method: str, operation: Operation, references: dict[Any, Any]
) -> Document:
    described: Document = {
        "operationId": f"{method}{endpoint.__name__}",
        "tags": [endpoint.tag],
        "summary": operation.summary,
        "parameters": [
            *_path_parameters(route),
            *_query_parameters(operation),
            *_headers(_headers_of(endpoint, method, operation)),
        ],
        "responses": _responses(endpoint, method, operation, references),
    }
    if operation.takes_bytes:
        described["requestBody"] = {"required": True, "content": _BYTES}
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": _json(references[(operation.body, "validation")]),
        }
    return described


def _path_parameters(route: str) -> list[Document]:
    schema = {"type": "string", "format": "uuid"}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in _ID.findall(route)]


def _query_parameters(operation: Operation) -> list[Document]:
    schema = _inlined(operation.query)
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": field}
        for name, field in schema.get("properties", {}).items()
    ]


def _headers_of(endpoint: type[Endpoint], method: str, operation: Operation) -> list[str]:
    """Return the headers that an operation reads: those it names, and those that all of its method read."""
    names = list(operation.headers)
    if method == "post" and not operation.takes_bytes:
        names.append(IDEMPOTENCY_KEY)
    if method == "get" and operation.shows_object:
        names.append(IF_NONE_MATCH)
    if method in ("patch", "put", "delete") and endpoint.version_shown_by() is not None:
        names.append(IF_MATCH)
    return list(dict.fromkeys(names))


def _headers(names: list[str]) -> list[Document]:
    bounds = {"minLength": 1, "maxLength": MAX_KEY_CHARS}
    described = {name: {"description": _SAID[name]} if name in _SAID else {} for name in names}
    return [
        {
            "name": name,
            "in": "header",
            "required": False,
            "schema": {"type": "string", **(bounds if name == IDEMPOTENCY_KEY else {})},
            **described[name],
        }
        for name in names
    ]


def _inlined(model: type[BaseModel]) -> Document:
    """Return a flat model's schema with its enumerations in place."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def resolved(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return definitions[node["$ref"].rpartition("/")[2]]
            return {key: resolved(value) for key, value in node.items()}
        return [resolved(item) for item in node] if isinstance(node, list) else node

    inlined: Document = resolved(schema)
    return inlined


def _responses(
    endpoint: type[Endpoint], method: str, operation: Operation, references: dict[Any, Any]
) -> Document:
    names = _headers_of(endpoint, method, operation)
    success: Document = {"description": operation.summary, "headers": dict(_RATES)}
    if IF_NONE_MATCH in names or IF_MATCH in names:
        success["headers"][ETAG] = {"description": "The version that is shown.", "schema": {"type": "string"}}
    if operation.answer is Download:
        success["content"] = _BYTES
    elif operation.answer is not None:
        success["content"] = _json(references[(operation.answer, "serialization")])
    failures = {status: list(codes) for status, (_, codes) in _ALWAYS.items()}
    for error in operation.errors:
        known = failures.setdefault(str(error.status), [])
        known.extend({error.code} - set(known))
    if IDEMPOTENCY_KEY in names:
        failures.setdefault("409", []).append(IdempotencyKeyInUse.code)
        failures["422"] = [IdempotencyKeyReused.code]
    if IF_MATCH in names:
        failures["412"] = [PreconditionFailed.code]
    body = _json(references[(ErrorBody, "serialization")])
    same = {"304": {"description": "The caller has this version."}} if IF_NONE_MATCH in names else {}
    return {
        str(operation.status): success,
        **same,
        **{
            status: {"description": _described(status, codes), "content": body}
            for status, codes in sorted(failures.items())
        },
    }


def _described(status: str, codes: list[str]) -> str:
    words = _ALWAYS[status][0] if status in _ALWAYS else _OTHERWISE[status]
    return f"{words}: {', '.join(codes)}."


def _json(schema: Any) -> Document:
    return {"application/json": {"schema": schema}}
