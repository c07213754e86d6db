"""Skills of agents, and answers by a schema: from the API to the turn's frame, and back to the task's result."""

from __future__ import annotations

import pytest

from services.domain.tasks.runner import issue_turn
from services.domain.tasks.submit import TaskOrder, submit_task
from tests.api.client import Api
from tests.domain.cast import running, start

SKILL = {
    "name": "release",
    "description": "How we release.",
    "body": "Tag it.",
    "files": {"tag.sh": "git tag"},
}
SCHEMA = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}


def test_a_skill_is_made_shown_changed_and_deleted(alice):
    made = alice.post("/v1/skills", SKILL)
    assert (made.status, made.body["files"]) == (201, {"tag.sh": "git tag"})
    route = f"/v1/skills/{made.body['id']}"
    assert alice.get(route).body == made.body
    assert alice.get("/v1/skills?name=release").body["items"] == [made.body]
    assert alice.post("/v1/skills", SKILL).code == "name_taken"
    assert alice.patch(route, {"body": "Tag and push."}).body["body"] == "Tag and push."
    assert alice.delete(route).status == 204
    assert alice.get(route).code == "skill_not_found"


@pytest.mark.parametrize(
    "files",
    [
        {"../x": ""},
        {"/x": ""},
        {"a/../x": ""},
        {".hidden": ""},
        {"skill.md": ""},
        {"": ""},
        {"x": "y" * 300_001},
    ],
)
def test_a_file_that_could_leave_its_folder_or_is_too_large_is_refused(alice, files):
    assert alice.post("/v1/skills", SKILL | {"files": files}).code == "invalid"


def test_a_turn_has_the_agents_skills_and_is_told_when_to_read_them(alice, acme):
    skill = alice.post("/v1/skills", SKILL).body
    alice.post("/v1/skills", SKILL | {"name": "other"})
    route = f"/v1/agents/{acme.agent.id}"
    assert alice.patch(route, {"skills": ["unknown"]}).fields == {"skills": "unknown: unknown"}
    assert alice.patch(route, {"skills": ["release"], "instructions": "Be brief."}).status == 200
    frame = turn_of(acme)
    (given,) = frame["options"]["skills"]
    assert given["files"]["tag.sh"] == "git tag"
    assert given["files"]["SKILL.md"] == '---\nname: release\ndescription: "How we release."\n---\n\nTag it.'
    assert frame["instructions"].startswith("Be brief.\n\nYou have skills")
    assert "release: How we release. (.slipway/skills/release/SKILL.md)" in frame["instructions"]
    assert alice.delete(f"/v1/skills/{skill['id']}").code == "still_in_use"


def test_a_viewer_reads_skills_and_makes_none(alice, acme):
    alice.patch(f"/v1/members/{acme.people['bob'].user_id}", {"role": "viewer"})
    bob = Api(acme.tokens["bob"])
    assert bob.get("/v1/skills").status == 200
    assert bob.post("/v1/skills", SKILL).status == 403


def turn_of(acme, **order):
    task = submit_task(acme.owner, TaskOrder(agent_id=acme.agent.id, prompt="true", **order), source="api")
    return issue_turn(task.org_id, task.id, start(task).sandbox.id)


# --- Answers by a schema -----------------------------------------------------------------------------


@pytest.mark.parametrize("text", ['{"sum": 3}', '```json\n{"sum": 3}\n```', ' {"sum": 3, "more": true}\n'])
def test_an_answer_by_its_schema_is_the_tasks_output(alice, acme, text):
    task, runner = running(acme, output_schema=SCHEMA)
    runner.says("turn.done", status="succeeded", text=text, turns=1, tool_calls=0)
    shown = alice.get(f"/v1/tasks/{task.id}").body
    assert (shown["status"], shown["result"]["output"]["sum"], shown["result"]["text"]) == (
        "succeeded",
        3,
        text,
    )


@pytest.mark.parametrize("text", ["three", '{"sum": "three"}', "{}", "", "[" * 50_000])
def test_any_other_answer_is_a_failure_that_says_why(alice, acme, text):
    task, runner = running(acme, output_schema=SCHEMA)
    runner.says("turn.done", status="succeeded", text=text, turns=1, tool_calls=0)
    shown = alice.get(f"/v1/tasks/{task.id}").body
    assert (shown["status"], shown["error"]["code"]) == ("failed", "output_invalid")
    assert shown["result"]["output"] is None


def test_an_agents_schema_is_that_of_tasks_without_their_own(alice, acme):
    alice.patch(f"/v1/agents/{acme.agent.id}", {"output_schema": SCHEMA})
    assert '"sum"' in turn_of(acme)["instructions"]
    own = turn_of(acme, output_schema={"type": "string"})
    assert ('"sum"' in own["instructions"], own["options"]["output_schema"]) == (False, {"type": "string"})


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nothing"},
        {"$ref": "http://127.0.0.1:9/schema"},
        {"properties": {"a": {"pattern": "(a+)+$"}}},
        {"description": "x" * 20_001},
    ],
)
def test_a_schema_that_cannot_be_checked_here_is_refused(alice, acme, schema):
    body = {"agent_id": str(acme.agent.id), "prompt": "x", "output_schema": schema}
    assert set(alice.post("/v1/tasks", body).fields) == {"output_schema"}
    assert set(alice.patch(f"/v1/agents/{acme.agent.id}", {"output_schema": schema}).fields) == {
        "output_schema"
    }
