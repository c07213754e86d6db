"""The internal routes: who gets through to a sandbox, and who does not."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from services.domain.errors import SandboxUnreachable
from services.domain.plane.models import Sandbox
from services.domain.plane.paths import SOCKET_NAME, socket_dir
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import create_workspace
from services.domain.workspaces.models import Workspace
from services.kit import tickets
from services.kit.clock import now
from services.kit.environment import environment
from services.kit.tickets import Ticket, TicketInvalid, open_ticket, sign_ticket
from services.mcp_gateway import channels as channels_module
from services.mcp_gateway.channels import Channels
from tests.fakes.linked_sandbox import LinkedHost, eventually, linked_host

SECRET = environment().secret_key.get_secret_value()


@pytest.fixture
def host(database: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[LinkedHost]:
    with linked_host(monkeypatch) as running:
        yield running


@pytest.fixture
def workspace(acme: Any) -> Workspace:
    with tenant_transaction(acme.organisation.id):
        return create_workspace(acme.owner, acme.agent, source="api", is_persistent=True)


def ask(url: str, ticket: str, client: Any = httpx, **order: Any) -> httpx.Response:
    return client.post(
        f"{url}/internal/v1/files",
        params={"params": json.dumps({"op": "list", "path": "", **order})},
        headers={"Authorization": f"Bearer {ticket}"},
        timeout=30,
    )


def test_a_ticket_opens_its_own_sandbox_for_its_own_purpose(host, workspace, acme, globex):
    sandbox = host.link(workspace)
    org_id = acme.organisation.id
    good = sign_ticket(SECRET, Ticket("files", sandbox.id, org_id))
    assert ask(host.url, good).json()["entries"] == []
    for bad in (
        "-", "x", "x.y", good[:-2], good + "AA",
        sign_ticket("another secret", Ticket("files", sandbox.id, org_id)),
        sign_ticket(SECRET, Ticket("terminal", sandbox.id, org_id)),
    ):  # fmt: skip
        refused = ask(host.url, bad)
        assert (refused.status_code, refused.json()["code"]) == (401, "token_invalid")
    for elsewhere in (
        Ticket("files", uuid.uuid4(), org_id),
        Ticket("files", sandbox.id, globex.organisation.id),
    ):
        refused = ask(host.url, sign_ticket(SECRET, elsewhere))
        assert (refused.status_code, refused.json()["code"]) == (503, "sandbox_unreachable")
    assert ask(host.url, good, op="format").status_code == 400


def test_a_sandbox_cannot_use_the_internal_routes_even_with_a_ticket(host, workspace, acme):
    sandbox = host.link(workspace)
    good = sign_ticket(SECRET, Ticket("files", sandbox.id, acme.organisation.id))
    path = str(socket_dir(environment().run_dir, sandbox.id) / SOCKET_NAME)
    with httpx.Client(transport=httpx.HTTPTransport(uds=path)) as inside:
        assert ask("http://gateway", good, inside).status_code == 401


def test_an_expired_ticket_opens_nothing(monkeypatch):
    text = sign_ticket(SECRET, Ticket("files", uuid.uuid4(), uuid.uuid4()))
    assert open_ticket(SECRET, text, "files").purpose == "files"
    monkeypatch.setattr(tickets, "now", lambda: now() + timedelta(seconds=61))
    with pytest.raises(TicketInvalid):
        open_ticket(SECRET, text, "files")


def test_whoever_is_used_is_held(host, workspace, acme):
    sandbox = host.link(workspace)
    big = sandbox.folder / "big"
    with big.open("wb") as file:
        file.truncate(2**32)
    good = sign_ticket(SECRET, Ticket("files", sandbox.id, acme.organisation.id))
    order = {"params": json.dumps({"op": "read", "path": "big"})}
    headers = {"Authorization": f"Bearer {good}"}
    url = f"{host.url}/internal/v1/files"
    with httpx.stream("POST", url, params=order, headers=headers, timeout=30) as answer:
        assert answer.headers["Content-Length"] == str(2**32)
        assert host.gateway._host.channels.sandboxes == {sandbox.id}
        eventually(lambda: Sandbox.objects.get(id=sandbox.id).held_until, "the sandbox is held")
    eventually(lambda: not host.gateway._host.channels.sandboxes, "a caller that has gone is noticed")


class DeafLink:
    """A link whose runner never dials."""

    def __init__(self) -> None:
        self.sandbox_id = uuid.uuid4()
        self.ready = asyncio.Event()
        self.ready.set()
        self.frames: list[dict[str, Any]] = []

    async def send(self, frame: dict[str, Any]) -> None:
        self.frames.append(frame)


class Dialling:
    """A connection that a sandbox opened."""

    def __init__(self) -> None:
        self.closed_with: int | None = None

    async def accept(self) -> None:
        return

    async def close(self, code: int = 1000) -> None:
        self.closed_with = code


async def test_a_runner_that_does_not_dial_is_unreachable(monkeypatch):
    monkeypatch.setattr(channels_module, "DIAL_S", 0.05)
    channels = Channels()
    with pytest.raises(SandboxUnreachable):
        async with channels.opened(DeafLink(), "files", {}):
            pytest.fail("nobody dialled")
    assert len(channels) == 0
    assert channels.sandboxes == set()


async def test_a_channel_is_given_to_the_sandbox_that_was_asked_and_once():
    channels, link = Channels(), DeafLink()

    async def use() -> object:
        async with channels.opened(link, "files", {}) as socket:
            return socket

    using = asyncio.create_task(use())
    while not link.frames:  # noqa: ASYNC110
        await asyncio.sleep(0)  # the order is sent in the next step of the loop
    channel_id = uuid.UUID(link.frames[0]["channel"])
    stranger, runner, late = Dialling(), Dialling(), Dialling()
    await channels.serve(stranger, uuid.uuid4(), channel_id)
    assert stranger.closed_with == channels_module.NOT_AWAITED
    await asyncio.gather(channels.serve(runner, link.sandbox_id, channel_id), using)
    assert using.result() is runner
    await channels.serve(late, link.sandbox_id, channel_id)
    assert late.closed_with == channels_module.NOT_AWAITED
