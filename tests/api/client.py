"""A client of the API that trusts nothing: each answer must be as the OpenAPI document says."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
from django.test import Client
from django.urls import resolve

from services.api.http.openapi import _ID
from services.api.v1.documentation import document
from services.domain.problems import PROBLEMS


class Answer:
    """A status, a body and headers."""

    def __init__(self, response: Any) -> None:
        self.status: int = response.status_code
        self.headers = response.headers
        self.raw: bytes = b"".join(response) if response.streaming else response.content
        is_json = response.headers.get("Content-Type") == "application/json" and self.raw
        self.body: Any = json.loads(self.raw) if is_json else None

    @property
    def code(self) -> str:
        """Return the error's code."""
        return str(self.body["error"]["code"])

    @property
    def fields(self) -> dict[str, str]:
        """Return what is said about single fields."""
        found: dict[str, str] = self.body["error"]["details"].get("fields", {})
        return found


class Api:
    """Calls the API as whoever holds the token."""

    def __init__(self, token: str | None = None, client: Client | None = None) -> None:
        self.client = client or Client(enforce_csrf_checks=True)
        self.token = token
        self._auth = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, **headers: str) -> Answer:
        return self.call("GET", path, headers=headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.call("POST", path, body, headers=headers)

    def patch(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.call("PATCH", path, body, headers=headers)

    def delete(self, path: str, **headers: str) -> Answer:
        return self.call("DELETE", path, headers=headers)

    def call(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send a body, as it is if it is bytes and else as JSON, and check the answer. `_` in header names is `-`."""
        answer = self.call_unchecked(method, path, body, headers=headers)
        check_answer(method, path, answer)
        return answer

    def call_unchecked(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None
    ) -> Answer:
        """Call without a look at the document, which promises no failure of ours."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        return Answer(
            self.client.generic(
                method, path, raw, content_type="application/json", headers={**self._auth, **named}
            )
        )

    def hook(self, path: str, body: Any, *, method: str = "POST", **headers: str) -> Answer:
        """Call a webhook, which is no part of the document."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Answer(self.client.generic(method, path, raw, content_type="application/json", headers=named))


def check_answer(method: str, path: str, answer: Answer) -> None:
    """Require an answer to match the document: a known status of the operation, and its schema."""
    route = "/" + _ID.sub(r"{\1}", resolve(path.partition("?")[0]).route).removeprefix("v1/")
    described = document()["paths"].get(route, {}).get(method.lower())
    if described is None:
        assert answer.status in (401, 403, 404, 405, 413), (method, path, answer.status)
        check_schema({"$ref": "#/components/schemas/ErrorBody"}, answer.body)
        return
    documented = described["responses"].get(str(answer.status))
    assert documented is not None, (method, path, answer.status, answer.body)
    if answer.status >= 400:
        check_schema({"$ref": "#/components/schemas/ErrorBody"}, answer.body)
        assert PROBLEMS[answer.code].status == answer.status, answer.body
    elif "application/octet-stream" in documented.get("content", ()):
        assert answer.headers["Content-Disposition"].startswith("attachment")
    elif "content" in documented:
        check_schema(documented["content"]["application/json"]["schema"], answer.body)
    else:
        assert answer.raw == b""


def check_schema(schema: dict[str, Any], value: Any) -> None:
    """Require a value to match a schema of the document."""
    whole = {**schema, "components": document()["components"]}
    jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker()).validate(value)
