"""The API's own description: the OpenAPI document, and a page that people can read."""

from __future__ import annotations

import functools
import json
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from services.api.http.openapi import Document, build_document
from services.api.v1.routes import ROUTES
from services.kit.environment import environment


@functools.cache
def document() -> Document:
    """Return the document of `/v1`, made once."""
    server = f"{environment().public_url.rstrip('/')}/v1"
    return build_document(ROUTES, title="Slipway", version="1", server=server)


@require_safe
def show_document(request: HttpRequest) -> HttpResponse:
    """Serve the OpenAPI document; it names no tenant's objects, so anybody may read it."""
    return JsonResponse(document())


@require_safe
def show_reference(request: HttpRequest) -> HttpResponse:
    """Serve the document as a page, without a script."""
    found = document()
    schemas = {
        name: json.dumps(schema, indent=2) for name, schema in sorted(found["components"]["schemas"].items())
    }
    context = {"groups": _groups(found), "schemas": schemas}
    return render(request, "api_v1/reference.html", context)


def _groups(found: Document) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, methods in found["paths"].items():
        for method, described in methods.items():
            body = described.get("requestBody", {}).get("content")
            entry = {
                **described,
                "path": f"/v1{path}",
                "method": method.upper(),
                "takes": _schema_name(body) if body else None,
                "answers": [
                    (status, answer, _schema_name(answer.get("content")))
                    for status, answer in described["responses"].items()
                ],
            }
            groups.setdefault(described["tags"][0], []).append(entry)
    return groups


def _schema_name(content: Document | None) -> str | None:
    if content and "application/json" not in content:
        return "bytes"
    return content["application/json"]["schema"]["$ref"].rpartition("/")[2] if content else None
