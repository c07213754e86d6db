"""The egress proxy of this host: a socket for each sandbox, beside the gateway's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import ssl
import uuid
from pathlib import Path
from typing import Self

import h11

from services.domain.egress.policy import all_tenants_find_policy
from services.domain.egress.refusals import record_refusals
from services.domain.metering.actions import note_network
from services.domain.plane.paths import EGRESS_SOCKET_NAME
from services.kit.environment import Environment
from services.mcp_gateway.egress.authority import AuthorityDoor, door_of_this_process
from services.mcp_gateway.egress.brokering import Vault
from services.mcp_gateway.egress.desk import Desk, FindPolicy, Limits, RecordRefusals
from services.mcp_gateway.egress.failures import Refused
from services.mcp_gateway.egress.outside import Outside
from services.mcp_gateway.egress.session import Session
from services.mcp_gateway.egress.streams import SocketStream
from services.mcp_gateway.egress.traffic import NoteNetwork, Owner, Traffic

log = logging.getLogger(__name__)

LOOK_S = 5.0
MOST_OPEN = 50_000
LOOKS_FOR_ONE_NOTE = 6
_ENDS = (OSError, ssl.SSLError, h11.ProtocolError, Refused, EOFError)


class EgressProxy:
    """Opens and closes the sockets, and looks after what goes on behind them."""

    def __init__(
        self,
        outside: Outside,
        authority: AuthorityDoor,
        *,
        limits: Limits | None = None,
        find_policy: FindPolicy = all_tenants_find_policy,
        record: RecordRefusals = record_refusals,
        note: NoteNetwork = note_network,
        vault: Vault | None = None,
    ) -> None:
        self.authority = authority
        self._outside = outside
        self._limits = limits or Limits()
        self._find_policy = find_policy
        self._record = record
        self._note = note
        self._vault = vault or Vault()
        self._traffic = Traffic()
        # A connection takes two files; half of all are left to the links, however many sandboxes want out.
        most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most_open = (
            MOST_OPEN if most_files == resource.RLIM_INFINITY else min(most_files // 4, MOST_OPEN)
        )
        self._servers: dict[uuid.UUID, asyncio.Server] = {}
        self._desks: dict[uuid.UUID, Desk] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @classmethod
    def of(cls, env: Environment) -> Self:
        """Make the proxy of this process's settings."""
        return cls(Outside(known=env.egress_known_hosts()), door_of_this_process())

    @property
    def open_connections(self) -> int:
        """Return how many connections are open, of all sandboxes."""
        return sum(len(desk.open) for desk in self._desks.values())

    async def open(self, sandbox_id: uuid.UUID, folder: Path) -> None:
        """Listen for a sandbox, in the folder that is mounted into it."""
        desk = Desk(
            sandbox_id,
            self._outside,
            self._limits,
            self._traffic,
            find_policy=self._find_policy,
            record=self._record,
            has_room=lambda: self.open_connections < self._most_open,
            vault=self._vault,
        )
        path = folder / EGRESS_SOCKET_NAME
        path.unlink(missing_ok=True)

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(desk, SocketStream(reader, writer))

        self._desks[sandbox_id] = desk
        self._servers[sandbox_id] = await asyncio.start_unix_server(accept, str(path), backlog=64)
        path.chmod(0o666)  # the sandbox's user is another one; only its own sandbox has the folder mounted

    def close(self, sandbox_id: uuid.UUID) -> None:
        """Stop listening for a sandbox, and end its connections."""
        server = self._servers.pop(sandbox_id, None)
        if server is not None:
            server.close()
        desk = self._desks.pop(sandbox_id, None)
        if desk is not None:
            closing = asyncio.ensure_future(desk.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def closed(self) -> None:
        """Wait until what `close` began is done."""
        while self._closing:
            await asyncio.wait(self._closing)

    async def run(self) -> None:
        """Look after the sandboxes and their traffic until cancelled."""
        try:
            while True:
                for _ in range(LOOKS_FOR_ONE_NOTE):
                    await self.look_after()
                    await asyncio.sleep(LOOK_S)
                await self._traffic.write_down(self._note)
        finally:
            await self._traffic.write_down(self._note)

    async def look_after(self) -> None:
        """Look after each sandbox once: see `Desk.look_after`."""
        for desk in list(self._desks.values()):
            try:
                await desk.look_after()
            except Exception:
                log.exception("a sandbox's connections could not be looked after; the next round will")

    def take_counts(self) -> dict[Owner, tuple[int, int]]:
        """Return the bytes that each workspace has sent and received since the last time."""
        return self._traffic.take()

    async def _serve(self, desk: Desk, stream: SocketStream) -> None:
        session = Session(desk, self.authority, self._outside.tls)
        try:
            await session.run(stream)
        except (*_ENDS, asyncio.CancelledError):
            pass  # it is no longer allowed, or one of the two ends has gone, or does not speak what it should
        except ExceptionGroup as group:
            if group.split(_ENDS)[1] is not None:
                log.exception("a connection of a sandbox broke")
        except Exception:
            log.exception("a connection of a sandbox broke")
        finally:
            with contextlib.suppress(OSError, RuntimeError):
                stream.close()
