"""What the gateway knows of registered servers: who may use which, and their listings, asked for again when old."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Collection
from datetime import timedelta

from services.adapters.upstreams.client import list_tools_once
from services.adapters.upstreams.network import Network
from services.domain.actors import Actor
from services.domain.errors import SlipwayError
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.credentials import has_credential, host_of, open_upstream
from services.domain.upstreams.listing import record_failure, record_listing
from services.domain.upstreams.models import UpstreamServer, UpstreamStatus
from services.domain.upstreams.queries import find_usable_upstream, list_persons_upstreams
from services.domain.vault.accesses import Used
from services.domain.vault.models import AccessWay
from services.kit.clock import now
from services.mcp_gateway.access_log import ACCESS_LOG
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.threads import run_in_thread

LISTING_LIFE = timedelta(minutes=5)
# A server that is down is not asked again by every call.
RETRY_AFTER = timedelta(seconds=15)


async def find_server(task: Task, name: str) -> UpstreamServer | None:
    """Return the server of a name, if this task may use it and it is one that the gateway reaches."""
    return await run_in_thread(_find, task, name)


async def find_persons_servers(person: Actor, names: Collection[str]) -> list[UpstreamServer]:
    """Return the servers of these names that a person's own programs can reach, in the names' order."""
    return await run_in_thread(_find_persons, person, names) if names else []


def _find(task: Task, name: str) -> UpstreamServer | None:
    with tenant_transaction(task.org_id):
        server = find_usable_upstream(task.user_id, name)
        return None if server is None or server.is_in_sandbox else server


def _find_persons(person: Actor, names: Collection[str]) -> list[UpstreamServer]:
    with tenant_transaction(person.org_id):
        return list_persons_upstreams(person, names)


class Listings:
    """Lists the tools of servers, one request for all who wait for the same."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._asking: dict[uuid.UUID, asyncio.Task[UpstreamServer]] = {}
        self._outdated: set[uuid.UUID] = set()

    def outdate(self, server_id: uuid.UUID) -> None:
        """Ask again before the next use: the server said that its tools have changed."""
        self._outdated.add(server_id)

    async def current(self, server: UpstreamServer, caller: Caller) -> UpstreamServer:
        """Return the server with a listing that is not old; an old one when it cannot be asked.

        It is asked for the caller that comes first, with the server's credential.
        Raises: SlipwayError when there is no listing at all.
        """
        if not self._is_due(server):
            return server
        asking = self._asking.get(server.id)
        if asking is None:
            asking = self._asking[server.id] = asyncio.create_task(self._ask(server, caller))
            asking.add_done_callback(lambda asked: self._asked(server.id, asked))
        try:
            return await asyncio.shield(asking)
        except SlipwayError:
            if server.listed_at is None:
                raise
            return server

    def _asked(self, server_id: uuid.UUID, asking: asyncio.Task[UpstreamServer]) -> None:
        self._asking.pop(server_id, None)
        if not asking.cancelled():
            # Looked at, so that it does not complain when nobody waits for it any more.
            asking.exception()

    def _is_due(self, server: UpstreamServer) -> bool:
        if server.listed_at is None:
            return True
        if server.id in self._outdated:
            return True
        has_failed = server.status in (UpstreamStatus.UNREACHABLE, UpstreamStatus.UNAUTHORISED)
        if has_failed and server.checked_at is not None and server.checked_at > now() - RETRY_AFTER:
            return False
        return server.listed_at <= now() - LISTING_LIFE

    async def _ask(self, server: UpstreamServer, caller: Caller) -> UpstreamServer:
        self._outdated.discard(server.id)
        try:
            await note_use(server, caller)
            upstream = open_upstream(server, run_in_thread)
            tools = await list_tools_once(upstream, self._network, timeout_s=server.timeout_s)
            listed = await run_in_thread(record_listing, server.org_id, server.id, tools)
        except SlipwayError as error:
            await note_failure(server, error)
            raise
        return listed or server


async def note_use(server: UpstreamServer, caller: Caller) -> None:
    """See to it that a use of a server's credential is on record, before it is used. Raises: DatabaseError."""
    if has_credential(server):
        used = caller.access(Used.of(server), AccessWay.UPSTREAM, host=host_of(server))
        await ACCESS_LOG.note(server.org_id, used)


async def note_failure(server: UpstreamServer, error: SlipwayError) -> None:
    """Keep why a server could not be used."""
    await run_in_thread(record_failure, server.org_id, server.id, error)
