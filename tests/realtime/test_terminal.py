"""Terminals over the WebSocket, through the real gateway into a real runner."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from services.domain.identity.actions import create_token
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.models import Workspace
from services.realtime.terminals import MAX_OF_CONNECTION
from tests.fakes.linked_sandbox import LinkedHost, linked_host
from tests.realtime.conftest import Client, Running, Stream, eventually

WITHIN_S = 30.0


@pytest.fixture
def host(database: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[LinkedHost]:
    with linked_host(monkeypatch) as running:
        yield running


@pytest.fixture
def workspace(stream: Stream) -> Workspace:
    with tenant_transaction(stream.tenant.organisation.id):
        return Workspace.objects.get(id=stream.workspace_id)


def ask(client: Client, **message: Any) -> dict[str, Any]:
    """Send a message and return its answer; what terminals show meanwhile is passed over."""
    message_id = uuid.uuid4().hex
    client.send(id=message_id, **message)
    while (frame := client.receive(WITHIN_S)).get("id") != message_id:
        pass
    return frame


def type_in(client: Client, terminal: str, text: str) -> None:
    client.send(op="terminal.input", terminal=terminal, data=base64.b64encode(text.encode()).decode())


def see(client: Client, what: bytes) -> bytes:
    shown = b""
    while what not in shown:
        frame = client.receive(WITHIN_S)
        assert frame["op"] == "terminal.output", frame
        shown += base64.b64decode(frame["data"])
    return shown


def test_a_member_types_and_sees_and_hears_of_the_end(
    service: Running, host: LinkedHost, workspace: Workspace, acme: Any
) -> None:
    host.link(workspace)
    with service.client(acme.tokens["bob"]) as client:
        opened = ask(client, op="terminal.open", workspace_id=str(workspace.id), cols=90, rows=30)
        assert opened["op"] == "ok", opened
        type_in(client, opened["terminal"], "stty size\n")
        see(client, b"30 90")
        assert ask(client, op="terminal.resize", terminal=opened["terminal"], cols=100, rows=40)["op"] == "ok"
        type_in(client, opened["terminal"], "stty size; exit 3\n")
        see(client, b"40 100")
        while (frame := client.receive(WITHIN_S))["op"] == "terminal.output":
            pass
        assert frame == {"op": "terminal.closed", "terminal": opened["terminal"], "exit_code": 3}
        gone = ask(client, op="terminal.close", terminal=opened["terminal"])
        assert gone["code"] == "terminal_not_found"


def test_terminals_are_for_those_who_may_in_a_sandbox_that_lives(
    service: Running, host: LinkedHost, workspace: Workspace, acme: Any, globex: Any
) -> None:
    message = {"op": "terminal.open", "workspace_id": str(workspace.id)}
    with service.client(acme.token) as client:
        assert ask(client, **message)["code"] == "sandbox_not_live"
        assert ask(client, op="terminal.input", terminal="x", data="")["code"] == "terminal_not_found"
    host.link(workspace)
    reader = create_token(acme.owner, name="r", scopes=["workspaces:read", "files:write"])[1]
    with service.client(reader) as client:
        assert ask(client, **message)["code"] == "scope_missing"
    with service.client(globex.token) as client:
        assert ask(client, **message)["code"] == "workspace_not_found"


def test_a_connections_terminals_are_bounded_and_end_with_it(
    service: Running, host: LinkedHost, workspace: Workspace, acme: Any
) -> None:
    host.link(workspace)
    message = {"op": "terminal.open", "workspace_id": str(workspace.id)}
    with service.client(acme.token) as client:
        for _ in range(MAX_OF_CONNECTION):
            assert ask(client, **message)["op"] == "ok"
        assert ask(client, **message)["code"] == "limited"
        assert len(host.gateway._host.channels) == MAX_OF_CONNECTION
    eventually(lambda: len(host.gateway._host.channels) == 0, WITHIN_S)
