"""What was used, over REST."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlencode

import pytest

from services.domain.identity.actions import create_token
from services.domain.metering.actions import note_network
from services.domain.tasks.models import Task, UsageRecord
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now, rfc3339
from tests.api.client import Api


def used(alice, acme) -> dict:
    """Make a task of acme's with 10 bytes up, 2^50 down, and a model call; return the task."""
    task = alice.post("/v1/tasks", {"agent_id": str(acme.agent.id), "prompt": "x"}).body
    with tenant_transaction(acme.organisation.id):
        UsageRecord.objects.create(
            org_id=acme.organisation.id, task=Task.objects.get(id=task["id"]), kind="llm",
            input_tokens=2**53 + 1, output_tokens=7, cost_microusd=1_500_000,
        )  # fmt: skip
    note_network(acme.organisation.id, task["workspace_id"], 10, 2**50)
    return task


def test_sums_are_exact_and_go_by_group(alice, acme):
    task = used(alice, acme)
    body = alice.get("/v1/usage?group_by=workspace").body
    assert body["total"]["network_down_bytes"] == 2**50
    assert body["total"]["input_tokens"] == 2**53 + 1
    assert (body["total"]["cost_microusd"], body["total"]["cost_usd"]) == (1_500_000, "1.500000")
    assert body["items"] == [{"key": task["workspace_id"], "used": body["total"]}]
    assert body["next"] is None
    assert alice.get(f"/v1/workspaces/{task['workspace_id']}/usage").body["total"] == body["total"]
    assert alice.get("/v1/usage").body["items"] == []
    (agent,) = alice.get("/v1/usage?group_by=agent").body["items"]
    assert agent["key"] == str(acme.agent.id)


def test_only_the_stretch_that_is_asked_for_counts(alice, acme):
    used(alice, acme)
    ends = {"from": rfc3339(now() - timedelta(days=9)), "to": rfc3339(now() - timedelta(days=2))}
    body = alice.get(f"/v1/usage?{urlencode(ends)}").body
    assert (body["from"], body["to"]) == (ends["from"], ends["to"])
    assert set(body["total"].values()) == {0, "0.000000"}


@pytest.mark.parametrize(
    "query",
    ["from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from=2020-01-01T00:00:00Z", "from=yesterday",
     "from=0001-01-01T00:00:00Z", "to=9999-12-31T23:59:59Z", "group_by=task", "limit=0", "since=2026-01-01T00:00:00Z"],
)  # fmt: skip
def test_a_stretch_that_makes_no_sense_is_refused(alice, query):
    assert alice.get(f"/v1/usage?{query}").status == 400


def test_a_foreign_cursor_or_organisation_shows_nothing_of_others(alice, mallory, acme):
    task = used(alice, acme)
    assert alice.get("/v1/usage?group_by=agent&cursor=zzzz").body["items"] == []
    assert mallory.get("/v1/usage?group_by=workspace").body["items"] == []
    assert mallory.get(f"/v1/workspaces/{task['workspace_id']}/usage").status == 404


def test_usage_has_a_scope_of_its_own(alice, acme):
    _, text = create_token(acme.owner, name="accounting", scopes=["usage:read"])
    assert Api(text).get("/v1/usage").status == 200
    _, text = create_token(acme.owner, name="other", scopes=["tasks:read"])
    assert Api(text).get("/v1/usage").code == "scope_missing"
