"""This host's sandboxes, as the gateway serves them: a socket for each, its runner's link, its work."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable

import redis.asyncio as redis
from starlette.websockets import WebSocket

from services.domain.plane.actions import hold_sandboxes, note_linked, renew_links
from services.domain.plane.models import Sandbox
from services.domain.plane.paths import SOCKET_NAME, socket_dir
from services.domain.plane.queries import find_sandbox, list_served
from services.domain.tasks.runner import all_tenants_link_work
from services.kit.environment import Environment
from services.mcp_gateway.channels import Channels
from services.mcp_gateway.commands import CommandDesk
from services.mcp_gateway.egress.proxy import EgressProxy
from services.mcp_gateway.link import NOT_SERVED, REPLACED, Link, open_link
from services.mcp_gateway.threads import run_in_thread

log = logging.getLogger(__name__)

SYNC_S = 1.0
RENEW_S = 8.0
NUDGES_AT_ONCE = 6

ProtocolFactory = Callable[[uuid.UUID], Callable[[], asyncio.Protocol]]


class HostGateway:
    """Keeps one Unix socket open for each sandbox of this host, and tells each runner what to do.

    PostgreSQL is asked once a second, and at once when somebody nudges: a lost nudge costs a second.
    """

    def __init__(self, env: Environment, protocol_factory: ProtocolFactory) -> None:
        self._env = env
        self._protocol_factory = protocol_factory
        self.egress = EgressProxy.of(env)
        self.channels = Channels()
        self.commands = CommandDesk()
        self._servers: dict[uuid.UUID, asyncio.Server] = {}
        self._opening: set[uuid.UUID] = set()
        self._links: dict[uuid.UUID, Link] = {}
        self._nudged: asyncio.Queue[uuid.UUID] = asyncio.Queue()
        self.is_synced = False

    @property
    def counts(self) -> dict[str, int]:
        """Return how many sockets, links, channels and connections to the outside are open."""
        return {
            "sockets": len(self._servers),
            "links": len(self._links),
            "channels": len(self.channels),
            "egress_connections": self.egress.open_connections,
        }

    async def run(self) -> None:
        """Serve this host until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for loop in (
                    self._sync_forever,
                    self._renew_forever,
                    self._listen_forever,
                    self._answer_nudges,
                    self.egress.run,
                ):
                    group.create_task(loop())
        finally:
            for sandbox_id in list(self._servers):
                self._close(sandbox_id)
            await self.egress.closed()

    async def serve_link(self, websocket: WebSocket, sandbox_id: uuid.UUID) -> None:
        """Serve one runner's connection; a newer one of the same sandbox replaces it."""
        link = await open_link(websocket, sandbox_id)
        if link is None:
            return
        earlier = self._links.get(sandbox_id)
        self._links[sandbox_id] = link
        if earlier is not None:
            await earlier.close(REPLACED)
        try:
            async with asyncio.TaskGroup() as group:
                # The welcome does not wait for it: what is next for this runner does not depend on it.
                group.create_task(run_in_thread(note_linked, sandbox_id))
                await link.run(lambda: self._nudged.put_nowait(sandbox_id))
        finally:
            if self._links.get(sandbox_id) is link:
                del self._links[sandbox_id]
                self.commands.forget(sandbox_id)

    def find_link(self, sandbox_id: uuid.UUID) -> Link | None:
        """Return a sandbox's link, or None while its runner is not connected."""
        return self._links.get(sandbox_id)

    async def _sync_forever(self) -> None:
        while True:
            try:
                await self._sync()
                self.is_synced = True
            except Exception:
                # The database may be away for a while; the sandboxes run on and their runners keep their journals.
                self.is_synced = False
                log.exception("the sandboxes of this host could not be read")
            await asyncio.sleep(SYNC_S)

    async def _sync(self) -> None:
        served = {sandbox.id: sandbox for sandbox in await run_in_thread(list_served, self._env.host_name)}
        for sandbox_id in [known for known in self._servers if known not in served]:
            self._close(sandbox_id)
        for sandbox in served.values():
            await self._open(sandbox)
        await self._tell([sandbox for sandbox in served.values() if sandbox.id in self._links])

    async def _tell(self, sandboxes: list[Sandbox]) -> None:
        for sandbox in sandboxes:
            if sandbox.id in self._links:
                self._links[sandbox.id].adopt(sandbox)
        await self._tell_tasks(sandboxes)
        await self.commands.tell(sandboxes, self._links)

    async def _tell_tasks(self, sandboxes: list[Sandbox]) -> None:
        task_ids = {sandbox.task_id for sandbox in sandboxes if sandbox.task_id}
        task_ids |= {link.task_id for link in self._links.values() if link.task_id}
        if not task_ids:
            return
        work = await run_in_thread(all_tenants_link_work, list(task_ids))
        for sandbox in sandboxes:
            link = self._links.get(sandbox.id)
            if link is None or not link.ready.is_set():
                continue
            # The turn that the runner has comes first: it may have to make room for the next.
            concerned = dict.fromkeys(id_ for id_ in (link.task_id, sandbox.task_id) if id_ in task_ids)
            # When the link breaks meanwhile, its runner will reconnect.
            with contextlib.suppress(RuntimeError, OSError):
                for task_id in concerned:
                    found = work.get(task_id)
                    await (link.tell(found) if found is not None else link.tell_gone(task_id))

    async def _open(self, sandbox: Sandbox) -> None:
        if sandbox.id in self._servers or sandbox.id in self._opening:
            return
        self._opening.add(sandbox.id)
        try:
            await self._listen_for(sandbox)
        finally:
            self._opening.discard(sandbox.id)

    async def _listen_for(self, sandbox: Sandbox) -> None:
        folder = socket_dir(self._env.run_dir, sandbox.id)
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        path = folder / SOCKET_NAME
        path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        await self.egress.open(sandbox.id, folder)
        server = await loop.create_unix_server(self._protocol_factory(sandbox.id), path=str(path), backlog=64)
        path.chmod(0o666)  # the sandbox's user is another one; only its own sandbox has the folder mounted
        self._servers[sandbox.id] = server

    def _close(self, sandbox_id: uuid.UUID) -> None:
        self.egress.close(sandbox_id)
        server = self._servers.pop(sandbox_id, None)
        if server is not None:
            server.close()
        link = self._links.pop(sandbox_id, None)
        if link is not None:
            self._closing = asyncio.ensure_future(link.close(NOT_SERVED))

    async def _renew_forever(self) -> None:
        while True:
            with contextlib.suppress(Exception):
                await run_in_thread(renew_links, list(self._links))
                await run_in_thread(hold_sandboxes, list(self.channels.sandboxes | self.commands.sandboxes))
            await asyncio.sleep(RENEW_S)

    async def _answer_nudges(self) -> None:
        """Answer several at a time: each waits for the database more than it works."""
        async with asyncio.TaskGroup() as group:
            for _ in range(NUDGES_AT_ONCE):
                group.create_task(self._answer_each())

    async def _answer_each(self) -> None:
        while True:
            sandbox_id = await self._nudged.get()
            try:
                sandbox = await run_in_thread(find_sandbox, sandbox_id)
                if sandbox is not None and sandbox.host_id == self._env.host_name:
                    await self._open(sandbox)
                    await self._tell([sandbox])
            except Exception:
                log.exception("a nudge for sandbox %s was not answered; the next round will", sandbox_id)

    async def _listen_forever(self) -> None:
        while True:
            try:
                url = self._env.redis_url.get_secret_value()
                async with (
                    redis.Redis.from_url(url, socket_timeout=None) as client,
                    client.pubsub(ignore_subscribe_messages=True) as pubsub,
                ):
                    await pubsub.subscribe("slipway:nudge:gateway")
                    async for message in pubsub.listen():
                        with contextlib.suppress(ValueError):
                            self._nudged.put_nowait(uuid.UUID(message["data"].decode()))
            except (redis.RedisError, OSError):
                await asyncio.sleep(1.0)
