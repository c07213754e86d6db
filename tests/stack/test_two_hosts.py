"""Two hosts, each with an engine of its own: placement, the loss of a host and its return, draining."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from tests.stack.running import RunningStack, until
from tests.stack.second_host import NAME, SecondHost

pytestmark = [pytest.mark.stack, pytest.mark.engine]


@pytest.fixture(scope="module")
def other(stack: RunningStack) -> Iterator[SecondHost]:
    """Run a second host beside the stack's own."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None or shutil.which("ip") is None:
        pytest.skip("only root can start a second engine, with a bridge of its own")
    host = SecondHost(stack)
    try:
        host.start()
        yield host
    finally:
        host.stop()


def agent_of_image(stack: RunningStack, image: str) -> str:
    """Create a shell agent that starts from an image; placement prefers a host that has it."""
    body = {"name": f"two hosts {uuid.uuid4().hex[:8]}", "provider": "shell"}
    answer = stack.http.post("/v1/agents", json=body)
    assert answer.status_code == 201, answer.text
    agent_id = str(answer.json()["id"])
    with psycopg.connect(stack.env["SLIPWAY_OPERATOR_DATABASE_URL"]) as connection:
        connection.execute("UPDATE agent SET image = %s WHERE id = %s", [image, agent_id])
    return agent_id


def host_of_files(stack: RunningStack, workspace_id: str) -> str | None:
    """Return the host on which a workspace's files lie now."""
    rows = stack.plane("SELECT host_id FROM volume WHERE workspace_id = %s", [workspace_id])
    return rows[0]["host_id"] if rows else None


def wait_stored(stack: RunningStack, workspace_id: str) -> None:
    """Wait until object storage has all of a workspace's files."""
    query = "SELECT 1 FROM volume WHERE workspace_id = %s AND snapshot_at > changed_at"
    until(lambda: stack.plane(query, [workspace_id]), within_s=60, what="the snapshot is stored")


def begin_turn(stack: RunningStack, prompt: str, workspace_id: str) -> str:
    """Submit a turn to a workspace, and return its id once it is at work."""
    task = stack.submit(prompt, workspace_id=workspace_id)

    def is_at_work() -> bool:
        events = stack.events(workspace_id)
        return any(event["type"] == "tool.called" and event["task_id"] == task["id"] for event in events)

    until(is_at_work, within_s=60, what="the turn is at work")
    return str(task["id"])


def press(stack: RunningStack, button: str) -> None:
    """Press a button of the second host on the operators' desk."""
    with httpx.Client(base_url=stack.api, follow_redirects=True, timeout=30) as desk:
        desk.get("/sign-in")
        form: dict[str, Any] = {"email": stack.email, "password": stack.password}
        assert desk.post("/sign-in", data=_signed(desk, form)).status_code == 200
        chosen = {"action": button, "_selected_action": NAME}
        answer = desk.post("/admin/plane/host/", data=_signed(desk, chosen))
        assert answer.status_code == 200
        assert NAME in answer.text


def _signed(desk: httpx.Client, form: dict[str, Any]) -> dict[str, Any]:
    token = next(value for name, value in desk.cookies.items() if "csrf" in name)
    return {**form, "csrfmiddlewaretoken": token}


def test_work_goes_where_its_image_is_and_stays_where_its_files_are(stack: RunningStack, other: SecondHost):
    here = stack.run("echo first > file.txt; cat file.txt")
    there = stack.run("echo second > file.txt; cat file.txt", agent=agent_of_image(stack, other.name_image()))
    assert there["status"] == "succeeded", there
    assert host_of_files(stack, here["workspace_id"]) == stack.env["SLIPWAY_HOST_NAME"]
    assert host_of_files(stack, there["workspace_id"]) == NAME
    assert len(other.containers()) == 1
    for task, word in ((here, "first"), (there, "second")):
        again = stack.run("cat file.txt", workspace_id=task["workspace_id"])
        assert again["result"]["text"].strip() == word
    assert host_of_files(stack, there["workspace_id"]) == NAME


def test_a_drained_host_ends_its_turns_and_its_work_goes_on_elsewhere(stack: RunningStack, other: SecondHost):
    image = other.name_image()
    workspace_id = stack.run("echo kept > file.txt", agent=agent_of_image(stack, image))["workspace_id"]
    assert host_of_files(stack, workspace_id) == NAME
    other.share_image(image)
    turn = begin_turn(stack, "until [ -e go ]; do sleep 0.1; done; echo went", workspace_id)
    following = stack.submit("cat file.txt", workspace_id=workspace_id)
    press(stack, "drain")
    try:
        until(lambda: len(other.containers()) == 1, within_s=60, what="what is at rest has left the host")
        other.make_file(workspace_id, "go")
        assert "went" in stack.wait(turn)["result"]["text"]
        answered = stack.wait(following["id"])
        assert answered["result"]["text"].strip() == "kept", answered
        assert host_of_files(stack, workspace_id) == stack.env["SLIPWAY_HOST_NAME"]
        until(lambda: not other.containers(), within_s=60, what="nothing is left on the drained host")
    finally:
        press(stack, "undrain")


def test_a_lost_host_costs_its_turns_and_no_files_and_ends_what_it_had_when_it_comes_back(
    stack: RunningStack, other: SecondHost
):
    image = other.name_image()
    workspace_id = stack.run("echo kept > file.txt", agent=agent_of_image(stack, image))["workspace_id"]
    assert host_of_files(stack, workspace_id) == NAME
    wait_stored(stack, workspace_id)
    turn = begin_turn(stack, "echo begun; sleep 300", workspace_id)
    following = stack.submit("cat file.txt", workspace_id=workspace_id)
    epoch = other.row()["epoch"]
    other.share_image(image)
    other.kill()
    other.age_beat()
    ended = stack.wait(turn)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "host_lost")
    answered = stack.wait(following["id"])
    assert answered["result"]["text"].strip() == "kept", answered
    assert host_of_files(stack, workspace_id) == stack.env["SLIPWAY_HOST_NAME"]

    other.start_engine()
    assert other.containers(), "the container of the lost host outlived it"
    other.start_services()
    until(lambda: not other.row()["is_fenced"], within_s=60, what="the host serves again")
    assert other.containers() == []
    assert other.row()["epoch"] != epoch
    assert "kept" in stack.run("cat file.txt", workspace_id=workspace_id)["result"]["text"]
