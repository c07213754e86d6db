"""The OpenAPI document: whole, well formed, and about this service. Each other test here checks answers against it."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest
from django.test import Client

from services.api.http.openapi import _ID
from services.api.v1.routes import ROUTES
from tests.api.client import check_schema


@pytest.fixture
def served(database) -> dict:
    response = Client().get("/v1/openapi.json")
    assert response.status_code == 200
    return json.loads(response.content)


def test_every_operation_is_in_the_document(served):
    documented = {(path, method) for path, methods in served["paths"].items() for method in methods}
    routed = {
        ("/" + _ID.sub(r"{\1}", route), method)
        for route, endpoint in ROUTES
        for method in endpoint.operations()
    }
    assert documented == routed
    assert served["openapi"].startswith("3.1")


def test_every_reference_leads_somewhere_and_every_schema_is_used(served):
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(served)))
    assert referred == set(served["components"]["schemas"])


def test_every_schema_is_a_schema(served):
    for schema in served["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_operations_have_names_of_their_own_a_tag_and_a_summary(served):
    operations = [described for methods in served["paths"].values() for described in methods.values()]
    names = [described["operationId"] for described in operations]
    assert len(set(names)) == len(names)
    assert all(described["summary"] and described["tags"] for described in operations)


def test_path_parameters_are_those_of_the_path(served):
    for path, methods in served["paths"].items():
        for described in methods.values():
            named = {parameter["name"] for parameter in described["parameters"] if parameter["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))


def test_a_body_that_the_document_allows_is_accepted(served, alice, acme):
    body = {"agent_id": str(acme.agent.id), "prompt": "x", "max_budget_usd": "0.5", "deliver_to": None}
    documented = served["paths"]["/tasks"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    check_schema(documented, body)
    assert alice.post("/v1/tasks", body).status == 202
    with pytest.raises(jsonschema.ValidationError):
        check_schema(documented, body | {"unknown": 1})


def test_a_change_requires_nothing_and_has_no_defaults(served):
    for name, schema in served["components"]["schemas"].items():
        if name.endswith("Changes") and name not in ("SecretChanges", "WorkspaceChanges"):
            assert "required" not in schema
            assert all("default" not in field for field in schema["properties"].values())


def test_people_can_read_it_without_a_script_or_a_third_party(database):
    page = Client().get("/docs")
    assert page.status_code == 200
    text = page.content.decode()
    assert "/v1/workspaces/{workspace_id}/events" in text
    assert "<script" not in text
    assert not re.findall(r'(?:src|href)="https?:', text)
