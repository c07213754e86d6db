"""Terminals over the WebSocket: each is a connection to the gateway of the host that has the sandbox."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import uuid
from dataclasses import dataclass
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from services.domain.actors import require
from services.domain.errors import (
    Invalid,
    Limited,
    Missing,
    SandboxBusy,
    SandboxNotLive,
    SandboxUnreachable,
    SlipwayError,
)
from services.domain.plane.models import Host
from services.domain.plane.queries import find_live_sandbox
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.queries import get_workspace
from services.kit.environment import environment
from services.kit.tickets import Ticket, sign_ticket
from services.realtime.access import Visitor
from services.realtime.entry import reply
from services.realtime.messages import (
    TerminalClose,
    TerminalInput,
    TerminalMessage,
    TerminalOpen,
    TerminalResize,
)
from services.realtime.outlet import BoundedOutlet
from services.realtime.rows import Rows

MAX_OF_CONNECTION = 4
OPEN_S = 15.0
TYPE_S = 15.0
MAX_FRAME_BYTES = 1024 * 1024


class TerminalMissing(Missing):
    code = "terminal_not_found"


@dataclass(frozen=True, slots=True)
class _Way:
    """How to reach a workspace's sandbox: an address, and a ticket that is good for a minute."""

    address: str
    ticket: str


@dataclass(frozen=True, slots=True)
class _Terminal:
    connection: ClientConnection
    showing: asyncio.Task[None]


class Terminals:
    """The terminals of one connection of a client. They end with it."""

    def __init__(self, rows: Rows, outlet: BoundedOutlet) -> None:
        self._rows = rows
        self._outlet = outlet
        self._open: dict[str, _Terminal] = {}
        self._opening = 0

    async def obey(self, message: TerminalMessage) -> None:
        """Do what a frame asks of an open terminal. What is typed waits for a slow program, and so does the client.

        Raises: TerminalMissing, SandboxUnreachable, Invalid.
        """
        terminal = self._open.get(message.terminal)
        if terminal is None:
            raise TerminalMissing("There is no such terminal on this connection.")
        try:
            async with asyncio.timeout(TYPE_S):
                await self._pass_on(message, terminal)
        except (TimeoutError, WebSocketException, OSError) as error:
            await self._hang_up(message.terminal)
            raise SandboxUnreachable("The terminal takes nothing any more, and was closed.") from error
        if message.id is not None:
            self._outlet.offer(reply("ok", id=message.id, terminal=message.terminal))

    async def close_all(self) -> None:
        """Close all of them."""
        for name in list(self._open):
            self._open[name].showing.cancel()
            await self._hang_up(name)

    async def _pass_on(self, message: TerminalMessage, terminal: _Terminal) -> None:
        match message:
            case TerminalInput():
                try:
                    typed = base64.b64decode(message.data, validate=True)
                except (binascii.Error, ValueError) as error:
                    raise Invalid(
                        "What is typed is sent as base64.", fields={"data": "not base64"}
                    ) from error
                await terminal.connection.send(typed)
            case TerminalResize():
                size = {"op": "resize", "cols": message.cols, "rows": message.rows}
                await terminal.connection.send(json.dumps(size))
            case TerminalClose():
                await self._hang_up(message.terminal)

    async def open(self, message: TerminalOpen, visitor: Visitor) -> None:
        """Open a terminal in a live sandbox.

        Raises: SandboxNotLive, SandboxUnreachable, SandboxBusy, Limited, ScopeMissing, WorkspaceMissing.
        """
        if len(self._open) + self._opening >= MAX_OF_CONNECTION:
            raise Limited("Too many terminals on this connection.", limit=MAX_OF_CONNECTION)
        self._opening += 1
        try:
            way = await self._rows.run(lambda: _find_way(message, visitor))
            connection = await _connect(way)
        finally:
            self._opening -= 1
        name = uuid.uuid4().hex
        self._outlet.offer(reply("ok", id=message.id, terminal=name))
        self._open[name] = _Terminal(connection, asyncio.create_task(self._show(name, connection)))

    async def _show(self, name: str, connection: ClientConnection) -> None:
        """Pass on what the terminal shows, at the client's pace, and say how it ended."""
        code: int | None = None
        try:
            async for shown in connection:
                if isinstance(shown, bytes):
                    data = base64.b64encode(shown).decode()
                    await self._outlet.put(reply("terminal.output", terminal=name, data=data))
                    continue
                word = json.loads(shown)
                if isinstance(word, dict) and word.get("op") == "exited":
                    code = word.get("exit_code") if isinstance(word.get("exit_code"), int) else None
        except (WebSocketException, OSError, ValueError):
            code = None
        self._open.pop(name, None)
        with contextlib.suppress(WebSocketException, OSError):
            await connection.close()
        await self._outlet.put(reply("terminal.closed", terminal=name, exit_code=code))

    async def _hang_up(self, name: str) -> None:
        """Close a terminal's connection; whoever shows it then says that it is closed."""
        terminal = self._open.pop(name, None)
        if terminal is not None:
            with contextlib.suppress(WebSocketException, OSError):
                await terminal.connection.close()


def _find_way(message: TerminalOpen, visitor: Visitor) -> _Way:
    """Return how to reach the workspace's live sandbox. Raises: ScopeMissing, WorkspaceMissing, SandboxNotLive."""
    actor = visitor.credential.all_tenants_verify()
    require(actor, "terminals:write")
    with tenant_transaction(visitor.actor.org_id):
        workspace = get_workspace(visitor.actor, message.workspace_id)
    sandbox = find_live_sandbox(workspace.id)
    if sandbox is None:
        raise SandboxNotLive("The workspace has no live sandbox. Resume it first.")
    base_url = Host.objects.values_list("gateway_url", flat=True).get(name=sandbox.host_id)
    params = quote(json.dumps({"cols": message.cols, "rows": message.rows}))
    address = f"{base_url.replace('http', 'ws', 1)}/internal/v1/terminal?params={params}"
    ticket = Ticket("terminal", sandbox.id, workspace.org_id)
    return _Way(address, sign_ticket(environment().secret_key.get_secret_value(), ticket))


async def _connect(way: _Way) -> ClientConnection:
    """Connect, and wait for the runner's word. Raises: SandboxUnreachable, SandboxBusy."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(OPEN_S):
                connection = await connect(
                    way.address,
                    additional_headers={"Authorization": f"Bearer {way.ticket}"},
                    compression=None,
                    max_size=MAX_FRAME_BYTES,
                    proxy=None,
                )
                stack.push_async_callback(connection.close)
                word = json.loads(await connection.recv())
        except (TimeoutError, WebSocketException, OSError, ValueError) as error:
            raise SandboxUnreachable("The sandbox does not answer.", retry_after_s=2) from error
        if not isinstance(word, dict) or word.get("op") != "ok":
            raise _refusal(word)
        stack.pop_all()
        return connection


def _refusal(word: object) -> SlipwayError:
    code = word.get("code") if isinstance(word, dict) else None
    if code in ("too_many_terminals", SandboxBusy.code):
        return SandboxBusy("The sandbox has no room for another terminal.", retry_after_s=5)
    return SandboxUnreachable("The sandbox does not answer.", retry_after_s=2)
