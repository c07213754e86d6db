"""A workspace's sandbox on the real engine: claimed warm, paused, stopped, woken, archived, deleted; files stay."""

from __future__ import annotations

import subprocess
from datetime import datetime
from typing import Any

import psycopg
import pytest

from tests.stack.running import RunningStack, until

pytestmark = [pytest.mark.stack, pytest.mark.engine]


def rows(stack: RunningStack, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Read from the sandbox plane."""
    with psycopg.connect(stack.env["SLIPWAY_PLANE_DATABASE_URL"]) as connection:
        return connection.execute(query, values).fetchall()


def sandboxes_of(stack: RunningStack, workspace_id: str) -> list[tuple[Any, ...]]:
    """Return (id, claimed at, created at, volume) of a workspace's sandboxes, newest first."""
    query = "SELECT id, claimed_at, created_at, volume FROM sandbox WHERE workspace_id = %s ORDER BY id DESC"
    return rows(stack, query, workspace_id)


def containers(stack: RunningStack, sandbox_id: object) -> list[str]:
    """Return the engine's containers of a sandbox, running or not."""
    command = ["docker", "ps", "-aq", "--filter", f"label=slipway.sandbox={sandbox_id}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def wait_for_state(stack: RunningStack, workspace_id: str, *states: str) -> None:
    """Wait until the workspace shows one of the states."""

    def is_there() -> bool:
        return stack.http.get(f"/v1/workspaces/{workspace_id}").json()["sandbox_state"] in states

    until(is_there, within_s=60, what=f"the sandbox is {' or '.join(states)}")


def wait_for_warm(stack: RunningStack) -> set[Any]:
    """Wait until the pool has a sandbox for the shell agent whose runner is there; returns them all."""
    query = "SELECT id FROM sandbox WHERE state = 'warm' AND link_until > now() AND image = %s"
    image = stack.env["SLIPWAY_AGENT_IMAGE"]
    return {
        row[0] for row in until(lambda: rows(stack, query, image), within_s=60, what="a sandbox waits warm")
    }


def make_room(stack: RunningStack) -> None:
    """Stop what other tests left idle: the pool takes only the slots that are left over."""

    def at_rest() -> list[str]:
        items = stack.http.get("/v1/workspaces", params={"limit": 200}).json()["items"]
        return [item["id"] for item in items if item["sandbox_state"] in ("idle", "paused")]

    for workspace_id in at_rest():
        stack.http.post(f"/v1/workspaces/{workspace_id}/stop")
    until(lambda: len(at_rest()) <= 2, within_s=60, what="there is room")


def post(stack: RunningStack, workspace_id: str, verb: str, status: int = 202) -> None:
    answer = stack.http.post(f"/v1/workspaces/{workspace_id}/{verb}")
    assert answer.status_code == status, answer.text


def test_a_new_workspace_gets_a_warm_sandbox_and_its_files_outlive_every_rest(stack: RunningStack):
    make_room(stack)
    stack.run("true")
    wait_for_warm(stack)
    task = stack.run("echo kept > file.txt; cat file.txt")
    workspace_id = task["workspace_id"]
    sandbox_id, claimed_at, created_at, volume = sandboxes_of(stack, workspace_id)[0]
    # One of those that waited; which one is the pool's business.
    assert created_at < datetime.fromisoformat(task["created_at"]) < claimed_at
    wait_for_state(stack, workspace_id, "idle")

    post(stack, workspace_id, "pause")
    wait_for_state(stack, workspace_id, "paused")
    assert "kept" in stack.run("cat file.txt", workspace_id=workspace_id)["result"]["text"]
    assert sandboxes_of(stack, workspace_id)[0][0] == sandbox_id

    post(stack, workspace_id, "stop")
    wait_for_state(stack, workspace_id, "stopped")
    until(lambda: not containers(stack, sandbox_id), within_s=30, what="the container is gone")
    post(stack, workspace_id, "resume")
    wait_for_state(stack, workspace_id, "idle")
    assert "kept" in stack.run("cat file.txt", workspace_id=workspace_id)["result"]["text"]
    assert sandboxes_of(stack, workspace_id)[0][3] == volume

    post(stack, workspace_id, "archive", 200)
    wait_for_state(stack, workspace_id, "archived")
    post(stack, workspace_id, "restore", 200)
    assert "kept" in stack.run("cat file.txt", workspace_id=workspace_id)["result"]["text"]
    states = [
        event["data"]["state"] for event in stack.events(workspace_id) if event["type"] == "sandbox.changed"
    ]
    assert [state for state in states if state in ("paused", "stopped", "archived")] == [
        "paused",
        "stopped",
        "stopped",
        "archived",
    ]


@pytest.mark.parametrize("state", ["idle", "paused", "stopped"])
def test_a_workspace_deleted_in_any_state_leaves_nothing(stack: RunningStack, state: str):
    workspace_id = stack.run("echo x > file.txt")["workspace_id"]
    wait_for_state(stack, workspace_id, "idle")
    if state != "idle":
        post(stack, workspace_id, {"paused": "pause", "stopped": "stop"}[state])
        wait_for_state(stack, workspace_id, state)
    sandbox_id, _, _, volume = sandboxes_of(stack, workspace_id)[0]
    assert stack.http.delete(f"/v1/workspaces/{workspace_id}").status_code == 204
    until(lambda: not containers(stack, sandbox_id), within_s=60, what="the container is gone")
    until(
        lambda: not rows(stack, "SELECT name FROM volume WHERE name = %s", volume),
        within_s=90,
        what="the volume is forgotten",
    )
