"""Versions of agents: each change makes one, none is ever changed, and one can go back; copies and templates."""

from __future__ import annotations

import os
import uuid
from importlib import import_module

import psycopg
import pytest
from django.db import connections

from services.domain.agents.models import Agent, AgentVersion
from services.domain.agents.templates import TEMPLATES
from services.domain.tasks.models import Task
from services.domain.tasks.runner import issue_turn
from services.domain.tenancy.transaction import tenant_transaction
from tests.api.client import Api


def versions(api, route):
    return api.get(f"{route}/versions").body["items"]


@pytest.fixture
def route(acme) -> str:
    return f"/v1/agents/{acme.agent.id}"


def test_each_change_makes_a_version_and_what_changes_nothing_makes_none(alice, acme, route):
    assert [one["number"] for one in versions(alice, route)] == [1]
    changed = alice.patch(route, {"instructions": "Be brief."})
    assert changed.body["version"] == 2
    assert alice.patch(route, {"instructions": "Be brief."}).body["version"] == 2
    newest, first = versions(alice, route)
    assert (newest["number"], newest["fields"]["instructions"]) == (2, "Be brief.")
    assert (first["number"], first["fields"]["instructions"]) == (1, "")
    assert newest["made_by_user_id"] == str(acme.owner.user_id)
    assert alice.get(f"{route}/versions/{first['id']}").body == first
    assert alice.get(f"{route}/versions?number=2").body["items"] == [newest]


def test_two_versions_are_compared_field_by_field_and_texts_line_by_line(alice, route):
    alice.patch(route, {"instructions": "Be brief.\nBe kind.", "max_turns": 5})
    alice.patch(route, {"instructions": "Be brief.\nBe honest."})
    found = alice.get(f"{route}/diff?before=2&after=3").body["changes"]
    assert [one["field"] for one in found] == ["instructions"]
    assert found[0]["lines"][-2:] == ["-Be kind.", "+Be honest."]
    fields = {
        one["field"]: one["after"] for one in alice.get(f"{route}/diff?before=1&after=2").body["changes"]
    }
    assert fields == {"instructions": "Be brief.\nBe kind.", "max_turns": 5}
    assert alice.get(f"{route}/diff?before=1&after=9").code == "agent_version_not_found"


def test_going_back_is_a_new_version_and_keeps_the_slug(alice, route):
    alice.patch(route, {"name": "Other", "slug": "other", "instructions": "new"})
    back = alice.post(f"{route}/rollback", {"version": 1})
    assert (back.status, back.body["version"], back.body["instructions"]) == (200, 3, "")
    assert (back.body["name"], back.body["slug"]) == ("Shell", "other")
    assert versions(alice, route)[0]["restores"] == 1
    assert alice.post(f"{route}/rollback", {"version": 7}).code == "agent_version_not_found"


def test_going_back_does_not_give_a_member_what_only_owners_decide(alice, acme, route):
    alice.patch(route, {"installs_packages": True})
    alice.patch(route, {"installs_packages": False})
    refused = Api(acme.tokens["bob"]).post(f"{route}/rollback", {"version": 2})
    assert (refused.status, refused.code) == (403, "role_missing")


def test_a_task_says_which_version_did_it(alice, acme, route):
    task = alice.post("/v1/tasks", {"agent_id": str(acme.agent.id), "prompt": "true"}).body
    assert task["agent_version"] is None
    alice.patch(route, {"instructions": "new"})
    sandbox_id = uuid.uuid4()
    with tenant_transaction(acme.organisation.id):
        Task.objects.filter(id=task["id"]).update(status="starting", sandbox_id=sandbox_id)
    assert issue_turn(acme.organisation.id, uuid.UUID(task["id"]), sandbox_id)["instructions"].startswith(
        "new"
    )
    assert alice.get(f"/v1/tasks/{task['id']}").body["agent_version"] == 2


def test_a_copy_is_set_alike_and_leaves_the_owners_grants_behind(alice, acme, route):
    alice.patch(route, {"instructions": "Be brief.", "reads_all_memories": True, "max_turns": 7})
    copy = alice.post(f"{route}/clone", {}).body
    assert (copy["name"], copy["slug"], copy["version"]) == ("Shell copy", "shell-copy", 1)
    assert (copy["instructions"], copy["max_turns"], copy["reads_all_memories"]) == ("Be brief.", 7, True)
    theirs = Api(acme.tokens["bob"]).post(f"{route}/clone", {}).body
    assert (theirs["slug"], theirs["reads_all_memories"]) == ("shell-copy-2", False)
    assert theirs["owner_id"] == str(acme.people["bob"].user_id)
    assert alice.post(f"{route}/clone", {"name": "Shell"}).code == "name_taken"


def test_an_archived_agent_is_taken_into_use_again_under_its_name(alice, route):
    alice.delete(route)
    back = alice.post(f"{route}/restore")
    assert (back.status, back.body["slug"], back.body["archived_at"]) == (200, "shell", None)
    alice.delete(route)
    alice.post("/v1/agents", {"name": "Shell"})
    assert alice.post(f"{route}/restore").code == "name_taken"


def test_every_template_makes_an_agent_and_what_is_sent_goes_over_it(alice):
    shown = alice.get("/v1/agent_templates").body["items"]
    assert [one["slug"] for one in shown] == [template.slug for template in TEMPLATES]
    for template in TEMPLATES:
        made = alice.post(
            "/v1/agents", {"name": f"My {template.title}", "template": template.slug, "timeout_s": 77}
        )
        assert (made.status, made.body["timeout_s"]) == (201, 77), made.body
        assert made.body["provider"] == template.fields["provider"]
    assert alice.post("/v1/agents", {"name": "x", "template": "none"}).code == "agent_template_not_found"


def test_the_migration_makes_a_version_of_what_there_was(acme):
    """Its statement, over an agent that has none: the same values as an action keeps."""
    backfill = import_module("services.domain.agents.migrations.0007_versions").BACKFILL
    with tenant_transaction(acme.organisation.id):
        kept = AgentVersion.objects.get().values
        AgentVersion.objects.all().delete()
    with psycopg.connect(os.environ["SLIPWAY_OWNER_DATABASE_URL"]) as owner:
        for statement in backfill.sql:
            owner.execute(statement)
    connections["default"].close()
    with tenant_transaction(acme.organisation.id):
        row = AgentVersion.objects.get()
        assert row.agent == Agent.objects.get()
        # What agents learned to have since then is missing from it.
        assert kept | row.values | {"packages": kept["packages"]} == kept
