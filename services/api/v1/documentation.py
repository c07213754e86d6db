"""The API's own description: the OpenAPI document, and pages that people can read, of operations and of problems."""

from __future__ import annotations

import functools
import json
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from services.api.http.openapi import Document, build_document
from services.api.v1.routes import ROUTES
from services.domain.problems import PROBLEMS, Problem
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


@require_safe
def list_problems(request: HttpRequest) -> HttpResponse:
    """Show every code that an answer can carry, by status."""
    groups: dict[int, list[Problem]] = {}
    for problem in PROBLEMS.values():
        groups.setdefault(problem.status, []).append(problem)
    return render(request, "api_v1/problems.html", {"groups": groups})


@require_safe
def show_problem(request: HttpRequest, code: str) -> HttpResponse:
    """Show what one code means, what to do about it, and where it can come from."""
    problem = PROBLEMS.get(code)
    if problem is None:
        raise Http404
    context = {"problem": problem, "operations": _raising(code)}
    return render(request, "api_v1/problem.html", context)


def _raising(code: str) -> list[tuple[str, str, str]]:
    """Return the operations that name a code, by method, path and summary; none when all of them could answer it."""
    found = document()["paths"]
    named = [
        (method.upper(), f"/v1{path}", described["summary"])
        for path, methods in found.items()
        for method, described in methods.items()
        if any(code in answer["description"].partition(": ")[2].rstrip(".").split(", ")
               for answer in described["responses"].values())
    ]  # fmt: skip
    return [] if len(named) == sum(map(len, found.values())) else named


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
