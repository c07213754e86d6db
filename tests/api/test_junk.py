"""Junk of many shapes, sent to every operation that takes a body: refused, and never a 500."""

from __future__ import annotations

from typing import Any

import pytest

from services.api.http.operations import operation_of
from services.api.v1.routes import ROUTES
from tests.api.client import Answer, Api
from tests.api.test_tenants import BODIES, call, with_ids

RAW = [
    b"",
    b"\x00",
    b"\xf0\x28\x8c\x28",
    b"<xml/>",
    b"a=b&c=d",
    b"[{}]",
    b"1e999",
    b'{"\\ud800": 1}',
    b'{"\\u0000": 1}',
    b'{"__proto__": {}, "constructor": 1}',
    b'{"a": 1e999}',
    b"[" * 20_000 + b"]" * 20_000,
    b'{"a":' * 20_000,
    b'{"a": ' + b"9" * 4_000 + b"}",
]
VALUES: list[Any] = [
    None, True, 0, -1, 2**31, 2**63, 2**64, 10**300, -(2**63) - 1, 0.5, 1e308, "", " ", "x", "\x00", "\ud800",
    "\u202e\ufeff",
    "x" * 5_000, "1; DROP TABLE task", "../../etc/passwd", "%00", "{{7*7}}", "00000000-0000-0000-0000-000000000000",
    "9999-12-31T23:59:59Z", "2026-01-01T00:00:00+99:99", [], [None], [[]], ["x"] * 300, {}, {"": ""}, {"chat_id": None},
    {"bot_token": ["x"]}, {"a": {"b": {"c": [{}]}}},
]  # fmt: skip
WITH_BODY = [
    (method, route, endpoint)
    for route, endpoint in ROUTES
    for method in ("post", "patch")
    if method in endpoint.operations() and not route.endswith("/connect")
]


def is_no_fault(answer: Answer) -> bool:
    """Say whether an answer is none of 5xx, but for one: no worker runs here that would wake a sandbox."""
    return answer.status < 500 or answer.code == "sandbox_starting"


def test_raw_junk_is_refused_everywhere(world, alice):
    for method, route, _ in WITH_BODY:
        for raw in RAW:
            path = "/v1/" + _filled(route, world)
            answer = alice.call(method.upper(), path, raw)
            assert is_no_fault(answer), (method, route, raw[:40])


@pytest.mark.parametrize(
    ("method", "route", "endpoint"), WITH_BODY, ids=[f"{m} {r}" for m, r, _ in WITH_BODY]
)
def test_a_junk_value_in_any_field_is_refused_or_taken(world, alice, method, route, endpoint):
    body = operation_of(getattr(endpoint, method)).body
    for name in body.model_fields if body else ():
        for value in VALUES:
            given = {**with_ids(BODIES.get((method, route), {}), world), name: value}
            answer = alice.call(method.upper(), "/v1/" + _filled(route, world), given)
            assert is_no_fault(answer), (name, value, answer.body)


def test_junk_in_any_query_parameter_is_refused(world, alice):
    for method, route, endpoint in ((m, r, e) for r, e in ROUTES for m in ("get",) if m in e.operations()):
        for name in operation_of(getattr(endpoint, method)).query.model_fields:
            for value in ("", "x", "%00", "-1", "9" * 400, "%ff%fe", "1e5", "None", "[]", "%F0%9F%98%80"):
                answer = alice.get(f"/v1/{_filled(route, world)}?{name}={value}")
                assert is_no_fault(answer), (route, name, value)


def test_junk_in_headers_is_refused(world, alice):
    for header in (
        "Authorization",
        "X_Slipway_Actor",
        "X_Slipway_Org",
        "Idempotency_Key",
        "X_Request_ID",
        "Host",
    ):
        for value in ("", "\x7f", "\u00ff" * 50, "a" * 8_000, "a:b:c", "Bearer " + "sw_" * 999, "\x00"):
            answer = Api(None if header == "Authorization" else alice.token).get("/v1/me", **{header: value})
            assert answer.status < 500, (header, value)


def _filled(route: str, world: Any) -> str:
    for name in world.ids:
        route = route.replace(f"<uuid:{name}>", world[name])
    return route


def test_the_bodies_of_the_walk_are_valid(world, alice):
    assert call(alice, "post", "tasks", world).status == 202
