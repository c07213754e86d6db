"""Schemathesis over the whole document: requests of its making, valid and not, and every answer as the document says.

A few for each operation here; `SLIPWAY_FUZZ_REQUESTS=10000` sends that many in all.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from services.api.v1.documentation import document
from services.api.wsgi import application
from services.kit.environment import environment

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# No worker runs here that would wake a sandbox, and nobody is outside whom a check or a connection could ask.
AWAY = {
    "sandbox_starting", "mcp_server_unreachable", "account_unreachable", "llm_key_unreachable", "platform_unavailable",
}  # fmt: skip
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


def operations() -> Iterator[Any]:
    """Yield the operations: those that show, then those that change, then those that take away."""
    # Who calls is always alice: what comes of other tokens is tried elsewhere.
    schema = schemathesis.openapi.from_dict({**document(), "security": []})
    schema.app = application
    found = [result.ok() for result in schema.get_all_operations()]
    yield from sorted(
        found, key=lambda one: ("get", "put", "patch", "post", "delete").index(one.method.lower())
    )


@pytest.mark.timeout(7_200)
def test_every_answer_is_as_the_document_says(world, alice, monkeypatch):
    for name in ("api_token", "api_org"):
        monkeypatch.setattr(environment(), f"{name}_burst", 10**9)
    found = list(operations())
    total = int(os.environ.get("SLIPWAY_FUZZ_REQUESTS", "0"))
    examples = max(1, total // (len(found) * len(MODES)))
    asked: list[int] = []
    faults = [
        fault
        for one in found
        for mode in MODES
        for fault in faults_of(one, mode, examples, world, alice, asked)
    ]
    assert not faults, f"{len(faults)} of {len(asked)} answers:\n\n" + "\n\n".join(faults[:60])
    assert len(asked) >= max(len(found), total // 2)


def faults_of(operation, mode, examples, world, api, asked) -> list[str]:
    """Ask an operation so often; returns what was wrong with its answers."""
    faults: list[str] = []
    name = f"{operation.method.upper()} {operation.path} ({mode.value})"
    ids = {parameter.name: world[parameter.name] for parameter in operation.path_parameters}
    given_ids = {"path_parameters": ids} if ids and mode is GenerationMode.POSITIVE else {}

    @seed(20_260_301)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(mode, **given_ids))
    def ask(case: Case) -> None:
        if case.query and "wait_s" in case.query:
            case.query["wait_s"] = 0
        asked.append(1)
        response = case.call(headers={"Authorization": f"Bearer {api.token}"})
        if response.status_code >= 500 and response.json()["error"]["code"] in AWAY:
            return
        checks = [*CHECKS, negative_data_rejection] if mode is GenerationMode.NEGATIVE else CHECKS
        try:
            case.validate_response(response, checks=checks)
        except FailureGroup as error:
            why = "; ".join(f"{one.title}: {one.message}" for one in error.exceptions)
            faults.append(f"{name}: {response.status_code} {why} {response.text[:300]}"[:1_500])

    # Some operations take nothing that could be wrong.
    with contextlib.suppress(Unsatisfiable):
        ask()
    return faults
