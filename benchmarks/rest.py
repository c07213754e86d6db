"""A list and a get through authentication, RLS and serializers, beside a bare DRF view of the same rows without them.

Both go through the same handler and middleware, in one process and one thread, by turns. The bare view reads plain
values over a role that row-level security lets through, and gives them to DRF as they are.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

from benchmarks.rows import Row, row
from benchmarks.stacks import bare_servers

ITEMS = 50
ROUNDS = int(os.environ.get("SLIPWAY_BENCH_ROUNDS", "7"))
CALLS = 100
_WITHIN_S = 300.0
_FIELDS = ("id", "agent_id", "user_id", "name", "source", "is_persistent", "sandbox_state", "turn_count",
           "created_at", "last_active_at", "archived_at")  # fmt: skip

# Django takes a module with this name for the paths: `request.urlconf` is this one.
urlpatterns: list[Any] = []


def _make_paths() -> None:
    from django.urls import include, path
    from rest_framework.response import Response
    from rest_framework.views import APIView

    from services.domain.workspaces.models import Workspace

    class BareList(APIView):
        authentication_classes: list[Any] = []
        permission_classes: list[Any] = []

        def get(self, request: Any) -> Response:
            rows = Workspace.objects.using("operator").order_by("-id").values(*_FIELDS)[:ITEMS]
            return Response({"items": list(rows), "next": None})

    class BareGet(APIView):
        authentication_classes: list[Any] = []
        permission_classes: list[Any] = []

        def get(self, request: Any, workspace_id: uuid.UUID) -> Response:
            return Response(Workspace.objects.using("operator").values(*_FIELDS).get(id=workspace_id))

    urlpatterns[:] = [
        path("bare/workspaces", BareList.as_view()),
        path("bare/workspaces/<uuid:workspace_id>", BareGet.as_view()),
        path("", include("services.api.urls")),
    ]


def measure() -> dict[str, float]:
    """Return calls a second of each, the middle of several rounds; in a process of its own."""
    with bare_servers("rest"):
        _make_paths()
        token, workspace_id = _furnish()
        call = _caller(token)
        ways = {
            "list": "/v1/workspaces",
            "bare list": "/bare/workspaces",
            "get": f"/v1/workspaces/{workspace_id}",
            "bare get": f"/bare/workspaces/{workspace_id}",
        }
        for way in ways.values():
            _per_s(call, way)
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                rates[name].append(_per_s(call, way))
        return {name: statistics.median(found) for name, found in rates.items()}


def _furnish() -> tuple[str, uuid.UUID]:
    from services.domain.agents.actions import AgentFields, create_agent
    from services.domain.identity.actions import all_tenants_create_organisation, create_token
    from services.domain.identity.models import User
    from services.domain.identity.queries import all_tenants_actor_of
    from services.domain.tenancy.transaction import tenant_transaction
    from services.domain.workspaces.actions import create_workspace

    owner = User.objects.create_user("bench@example.com")
    organisation = all_tenants_create_organisation(slug="bench", name="Bench", owner=owner)
    actor = all_tenants_actor_of(owner, organisation.id)
    agent = create_agent(actor, AgentFields(name="Bench"))
    with tenant_transaction(organisation.id):
        made = [
            create_workspace(actor, agent, source="api", is_persistent=True, name=f"Workspace {number}")
            for number in range(ITEMS)
        ]
    return create_token(actor, name="bench")[1], made[0].id


def _caller(token: str) -> Callable[[str], bytes]:
    from django.core.handlers.wsgi import WSGIHandler
    from django.test import RequestFactory

    handler, requests = WSGIHandler(), RequestFactory(SERVER_NAME="127.0.0.1")

    def call(path: str) -> bytes:
        request = requests.get(path, headers={"Authorization": f"Bearer {token}"})
        request.urlconf = __name__
        response = handler.get_response(request)
        content: bytes = response.content
        response.close()
        assert response.status_code == 200, content
        return content

    return call


def _per_s(call: Callable[[str], bytes], path: str) -> float:
    started = time.perf_counter()
    for _ in range(CALLS):
        call(path)
    return CALLS / (time.perf_counter() - started)


def run() -> list[Row]:
    """Measure all four in one run."""
    answer = subprocess.run(
        [sys.executable, "-c", "import json; from benchmarks.rest import measure; print(json.dumps(measure()))"],
        stdout=subprocess.PIPE, text=True, check=True, timeout=_WITHIN_S,
    )  # fmt: skip
    found = json.loads(answer.stdout.splitlines()[-1])
    detail = f"middle of {ROUNDS} × {CALLS} calls, one thread; goal 0.5×"
    return [
        row(f"list of {ITEMS} workspaces", found["list"], "1/s", "bare DRF view", found["bare list"], detail),
        row("get of a workspace", found["get"], "1/s", "bare DRF view", found["bare get"], detail),
    ]
