"""Agents, workspaces, playbooks and secrets over REST: what each call changes, and what it refuses."""

from __future__ import annotations

import uuid

import pytest

from conftest import recorded
from services.domain.agents.models import Agent
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.models import Workspace
from tests.api.client import Api
from tests.domain.cast import granted

NOBODY = str(uuid.uuid4())


def test_an_agent_is_created_shown_changed_and_archived(alice, acme):
    made = alice.post(
        "/v1/agents", {"name": "Writer", "provider": "claude", "max_budget_microusd": 2_500_000}
    )
    assert (made.status, made.body["slug"], made.body["max_budget_usd"]) == (201, "writer", "2.500000")
    route = f"/v1/agents/{made.body['id']}"
    assert alice.get(route).body == made.body
    changed = alice.patch(route, {"instructions": "Be brief.", "max_budget_microusd": None})
    assert (changed.body["instructions"], changed.body["max_budget_usd"]) == ("Be brief.", None)
    assert changed.body["name"] == "Writer"
    assert alice.delete(route).status == 204
    assert alice.delete(route).status == 204
    assert alice.get(route).body["archived_at"] is not None
    assert [item["id"] for item in alice.get("/v1/agents").body["items"]] == [str(acme.agent.id)]


def test_an_agent_with_a_taken_name_is_refused(alice, acme):
    refused = alice.post("/v1/agents", {"name": "Shell"})
    assert (refused.status, refused.code, refused.fields) == (409, "name_taken", {"slug": "taken"})
    other = alice.post("/v1/agents", {"name": "Other"}).body
    assert alice.patch(f"/v1/agents/{other['id']}", {"slug": "shell"}).code == "name_taken"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"name": ""}, "name"),
        ({"provider": "oracle"}, "provider"),
        ({"mcp_servers": ["internet"]}, "mcp_servers"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"cpus": 1e300}, "cpus"),
        ({"memory_mb": 2**80}, "memory_mb"),
        ({"slug": "No Slug"}, "slug"),
    ],
)
def test_an_agent_with_a_bad_field_is_refused(alice, acme, fields, named):
    assert set(alice.post("/v1/agents", {"name": "A"} | fields).fields) == {named}
    assert set(alice.patch(f"/v1/agents/{acme.agent.id}", fields).fields) == {named}


def test_a_workspace_is_shown_renamed_archived_and_deleted(alice, acme, finish):
    task = alice.post("/v1/tasks", {"agent_id": str(acme.agent.id), "prompt": "echo hi"}).body
    route = f"/v1/workspaces/{task['workspace_id']}"
    assert alice.get(route).body["stream"] == f"workspace:{task['workspace_id']}"
    assert alice.patch(route, {"name": "Notes"}).body["name"] == "Notes"
    for refused in (alice.post(f"{route}/archive"), alice.delete(route)):
        assert (refused.status, refused.code) == (409, "still_in_use")
    finish(acme, task["id"])
    assert alice.post(f"{route}/archive").body["archived_at"] is not None
    assert alice.delete(route).status == 204
    assert alice.get(route).code == "workspace_not_found"
    assert alice.get(f"{route}/events").code == "workspace_not_found"
    assert alice.get(f"/v1/tasks/{task['id']}").code == "task_not_found"
    with tenant_transaction(acme.organisation.id):
        assert not Workspace.objects.exists()


def test_workspaces_are_narrowed_by_agent(alice, acme):
    task = alice.post("/v1/tasks", {"agent_id": str(acme.agent.id), "prompt": "x"}).body
    listed = alice.get(f"/v1/workspaces?agent_id={acme.agent.id}").body["items"]
    assert [item["id"] for item in listed] == [task["workspace_id"]]
    assert alice.get(f"/v1/workspaces?agent_id={NOBODY}").body["items"] == []


def test_events_come_in_order_without_gaps_from_any_number(alice, acme, finish):
    task = alice.post("/v1/tasks", {"agent_id": str(acme.agent.id), "prompt": "x"}).body
    finish(acme, task["id"])
    route = f"/v1/workspaces/{task['workspace_id']}/events"
    whole = alice.get(route).body
    assert [event["seq"] for event in whole["items"]] == [1, 2, 3]
    assert (whole["next"], whole["oldest"], whole["head"]) == (None, 1, 3)
    assert [event["type"] for event in whole["items"]] == ["task.queued", "message.created", "task.finished"]
    first = alice.get(f"{route}?limit=2").body
    rest = alice.get(f"{route}?limit=2&after={first['next']}").body
    assert first["items"] + rest["items"] == whole["items"]
    assert rest["next"] is None
    assert alice.get(f"{route}?after=99").body["items"] == []
    assert alice.get(f"{route}?after=-1").code == "invalid"


def test_a_playbook_is_created_shown_changed_run_and_deleted(alice, acme):
    fields = {"agent_id": str(acme.agent.id), "name": "Nightly", "prompt": "date", "cron": "0 3 * * *"}
    made = alice.post("/v1/playbooks", fields | {"timezone": "Europe/Berlin"})
    assert made.status == 201
    secret = made.body.pop("hook_secret")
    route = f"/v1/playbooks/{made.body['id']}"
    shown = alice.get(route)
    assert shown.body == made.body
    assert secret.encode() not in shown.raw
    assert shown.body["hook_url"].endswith(f"/hooks/playbook/{made.body['id']}")
    assert shown.body["next_run_at"] is not None
    changed = alice.patch(route, {"is_enabled": False})
    assert (changed.body["is_enabled"], changed.body["next_run_at"], changed.body["prompt"]) == (
        False,
        None,
        "date",
    )
    assert alice.patch(route, {"cron": "nonsense"}).code == "schedule_invalid"
    assert alice.patch(route, {"agent_id": NOBODY}).code == "agent_not_found"
    assert alice.delete(route).status == 204
    assert alice.get(route).code == "playbook_not_found"


def test_running_a_playbook_submits_a_task_once_for_each_key(alice, world):
    route = f"/v1/playbooks/{world['playbook_id']}"
    with recorded() as seen:
        first, again = (alice.post(f"{route}/run", Idempotency_Key="today") for _ in range(2))
    assert (first.status, first.body["id"]) == (202, again.body["id"])
    assert seen.job_types == ["task.dispatch"]
    assert alice.get(f"/v1/tasks/{first.body['task_id']}").body["source"] == "playbook"
    another = alice.post(f"{route}/run").body
    assert [run["id"] for run in alice.get(f"{route}/runs").body["items"]] == [
        another["id"],
        first.body["id"],
    ]


def test_a_run_that_cannot_be_submitted_says_why(alice, world):
    alice.delete(f"/v1/agents/{world['agent_id']}")
    run = alice.post(f"/v1/playbooks/{world['playbook_id']}/run").body
    assert run["task_id"] is None
    assert run["error"].startswith("agent_archived")


def test_a_secret_is_kept_and_never_read_back(alice, acme):
    made = alice.post(
        "/v1/secrets", {"name": "API_KEY", "value": "hush-1", "agent_ids": [str(acme.agent.id)]}
    )
    assert made.status == 201
    route = f"/v1/secrets/{made.body['id']}"
    changed = alice.patch(route, {"value": "hush-2"})
    assert changed.body["agent_ids"] == [str(acme.agent.id)]
    for answer in (made, changed, alice.get(route), alice.get("/v1/secrets")):
        assert b"hush" not in answer.raw
    assert granted(acme) == {"API_KEY": "hush-2"}
    assert alice.patch(route, {"agent_ids": None}).body["agent_ids"] is None
    assert alice.delete(route).status == 204
    assert alice.get(route).code == "not_found"


@pytest.mark.parametrize("name", ["lower", "PATH", "ANTHROPIC_API_KEY", "A B", ""])
def test_a_secret_with_an_unusable_name_is_refused(alice, name):
    assert set(alice.post("/v1/secrets", {"name": name, "value": "x"}).fields) == {"name"}


def test_a_secret_for_an_unknown_agent_is_refused(alice):
    refused = alice.post("/v1/secrets", {"name": "A", "value": "x", "agent_ids": [NOBODY]})
    assert (refused.status, refused.code) == (404, "agent_not_found")


def test_a_refused_change_changes_nothing(alice, acme):
    assert alice.patch(f"/v1/agents/{acme.agent.id}", {"name": "New", "timeout_s": -1}).status == 400
    with tenant_transaction(acme.organisation.id):
        assert Agent.objects.get(id=acme.agent.id).name == "Shell"


def test_a_note_is_listed_shown_and_forgotten_by_its_user_only(alice, acme, world):
    route = f"/v1/memories/{world['memory_id']}"
    (note,) = alice.get(f"/v1/memories?agent_id={acme.agent.id}").body["items"]
    assert (note["name"], note["body"]) == ("likes", "Tea.")
    assert alice.get(route).body == note
    bob = Api(acme.tokens["bob"])
    assert bob.get("/v1/memories").body["items"] == []
    assert (bob.get(route).status, bob.delete(route).code) == (404, "memory_not_found")
    assert alice.delete(route).status == 204
    assert alice.delete(route).code == "memory_not_found"
