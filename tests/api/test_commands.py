"""Durable commands over REST, through the real gateway and a real runner."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest

from conftest import recorded
from services.domain.commands.actions import MAX_OPEN, store_command_entry
from services.domain.commands.models import Command
from services.domain.plane.actions import change_state
from services.domain.plane.models import Sandbox, SandboxState
from services.domain.tasks.submit import TaskOrder, submit_task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import create_workspace
from services.domain.workspaces.models import Workspace
from services.kit.clock import now
from services.worker.jobs.commands import sweep_commands
from tests.api.client import Answer, Api
from tests.fakes.linked_sandbox import LinkedHost, eventually, linked_host


@pytest.fixture
def host(database: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[LinkedHost]:
    with linked_host(monkeypatch) as running:
        yield running


@pytest.fixture
def workspace(acme) -> Workspace:
    with tenant_transaction(acme.organisation.id):
        return create_workspace(acme.owner, acme.agent, source="api", is_persistent=True)


def start(api: Api, workspace: Workspace, text: str, **fields: object) -> Answer:
    return api.post(f"/v1/workspaces/{workspace.id}/commands", {"text": text, **fields})


def wait(api: Api, command: Answer) -> dict:
    path = f"/v1/commands/{command.body['id']}?wait_s=20"
    return eventually(lambda: (found := api.get(path).body)["finished_at"] and found, "the command ends")


def test_a_command_runs_and_its_output_and_end_are_kept(host, workspace, alice):
    host.link(workspace)
    with recorded() as seen:
        command = start(alice, workspace, "echo hello; exit 4")
        assert (command.status, command.body["status"]) == (202, "queued")
        ended = wait(alice, command)
    assert (ended["status"], ended["exit_code"], ended["output"]) == ("failed", 4, "hello\n")
    assert ended["output_bytes"] == 6
    assert [event.type for event in seen.events if event.type.startswith("command.")] == [
        "command.started",
        "command.finished",
    ]
    listed = alice.get(f"/v1/workspaces/{workspace.id}/commands").body["items"]
    assert [item["id"] for item in listed] == [command.body["id"]]


def test_a_command_waits_for_its_sandbox_and_holds_it(host, workspace, alice):
    with recorded() as seen:
        command = start(alice, workspace, "until [ -e go ]; do sleep 0.02; done")
    assert seen.job_types == ["sandbox.wake"]
    sandbox = host.link(workspace)
    path = f"/v1/commands/{command.body['id']}"
    eventually(lambda: alice.get(path).body["status"] == "running", "it runs")
    eventually(lambda: Sandbox.objects.get(id=sandbox.id).held_until, "the sandbox is held")
    (sandbox.folder / "go").touch()
    assert wait(alice, command)["status"] == "succeeded"


def test_a_running_command_is_cancelled(host, workspace, alice):
    host.link(workspace)
    command = start(alice, workspace, "sleep 600")
    path = f"/v1/commands/{command.body['id']}"
    eventually(lambda: alice.get(path).body["status"] == "running", "it runs")
    assert alice.post(f"{path}/cancel").body["cancel_requested"] is True
    assert wait(alice, command)["status"] == "cancelled"
    assert alice.post(f"{path}/cancel").status == 200


def test_a_queued_command_is_cancelled_at_once(workspace, alice):
    command = start(alice, workspace, "true")
    cancelled = alice.post(f"/v1/commands/{command.body['id']}/cancel")
    assert cancelled.body["status"] == "cancelled"


def test_a_command_of_a_sandbox_that_ends_is_lost(host, workspace, alice):
    sandbox = host.link(workspace)
    command = start(alice, workspace, "sleep 600")
    path = f"/v1/commands/{command.body['id']}"
    eventually(lambda: alice.get(path).body["status"] == "running", "it runs")
    sweep_commands()
    assert alice.get(path).body["status"] == "running"
    change_state(sandbox.id, SandboxState.STOPPED)
    sweep_commands()
    lost = alice.get(path).body
    assert (lost["status"], lost["error"]) == ("lost", "Its sandbox ended before the command did.")
    assert alice.post(f"{path}/cancel").code == "command_finished"


def test_a_command_that_finds_no_sandbox_expires(workspace, alice):
    command = start(alice, workspace, "true")
    sweep_commands()
    assert alice.get(f"/v1/commands/{command.body['id']}").body["status"] == "queued"
    Command.objects.using("operator").update(created_at=now() - timedelta(minutes=16))
    sweep_commands()
    assert alice.get(f"/v1/commands/{command.body['id']}").body["status"] == "expired"


def test_a_workspace_has_at_most_so_many_commands_at_once(workspace, alice):
    for _ in range(MAX_OPEN):
        assert start(alice, workspace, "true").status == 202
    assert (start(alice, workspace, "true").status, start(alice, workspace, "true").code) == (429, "limited")


def test_an_ephemeral_workspace_without_its_sandbox_takes_no_command(acme, alice):
    order = TaskOrder(agent_id=acme.agent.id, prompt="true", mode="batch")
    task = submit_task(acme.owner, order, source="api")
    refused = alice.post(f"/v1/workspaces/{task.workspace_id}/commands", {"text": "true"})
    assert (refused.status, refused.code) == (409, "sandbox_gone")


def test_mallory_neither_sees_nor_starts_nor_cancels(workspace, alice, mallory):
    command = start(alice, workspace, "true").body["id"]
    assert start(mallory, workspace, "true").code == "workspace_not_found"
    assert mallory.get(f"/v1/workspaces/{workspace.id}/commands").code == "workspace_not_found"
    assert mallory.get(f"/v1/commands/{command}").code == "command_not_found"
    assert mallory.post(f"/v1/commands/{command}/cancel").code == "command_not_found"
    assert alice.get(f"/v1/commands/{command}").body["status"] == "queued"


def test_another_sandbox_has_no_say_in_a_command(workspace, alice, acme):
    command = uuid.UUID(start(alice, workspace, "true").body["id"])
    said = {"status": "succeeded", "output": "a\x00\ud800b", "output_bytes": 2**80, "exit_code": 2**40}
    with tenant_transaction(acme.organisation.id):
        store_command_entry(command, uuid.uuid4(), "command.finished", said)
    assert alice.get(f"/v1/commands/{command}").body["status"] == "queued"
    sandbox_id = uuid.uuid4()
    Command.objects.using("operator").update(sandbox_id=sandbox_id)
    with tenant_transaction(acme.organisation.id):
        store_command_entry(command, sandbox_id, "command.finished", said)
    ended = alice.get(f"/v1/commands/{command}").body
    assert (ended["status"], ended["output"], ended["exit_code"]) == ("succeeded", "a\ufffd?b", None)
