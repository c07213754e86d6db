"""MCP servers of others, as people register them: the network calls between the actions, outside of any transaction."""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from django.db import connections

from services.adapters.upstreams.client import list_tools_once
from services.adapters.upstreams.network import Network
from services.adapters.upstreams.oauth import authorization_url, exchange_code, plan_authorization
from services.domain.actors import Actor
from services.domain.errors import SlipwayError, UpstreamMissing
from services.domain.identity.models import User
from services.domain.identity.queries import all_tenants_actor_of
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.actions import NewUpstream, register_upstream, update_upstream
from services.domain.upstreams.authorization import (
    all_tenants_take_authorization,
    begin_authorization,
    finish_authorization,
    get_connectable,
)
from services.domain.upstreams.credentials import has_credential, host_of, open_upstream
from services.domain.upstreams.in_sandbox import refuse_in_sandbox
from services.domain.upstreams.listing import record_failure, record_listing
from services.domain.upstreams.models import UpstreamServer, UpstreamStatus
from services.domain.upstreams.review import lock_own_upstream
from services.domain.vault.accesses import Access, Used, record_accesses
from services.domain.vault.models import AccessWay
from services.kit.environment import environment

CALLBACK_PATH = "/integrations/mcp/callback"

P = ParamSpec("P")
T = TypeVar("T")


def network() -> Network:
    """Return the way out, by this process's settings."""
    return _network(environment().internal_hosts())


@functools.lru_cache(maxsize=4)
def _network(internal_hosts: frozenset[str]) -> Network:
    return Network(internal_hosts=internal_hosts)


def redirect_uri() -> str:
    """Return where authorization servers send people back to."""
    return f"{environment().public_url.rstrip('/')}{CALLBACK_PATH}"


def add_server(actor: Actor, fields: NewUpstream) -> UpstreamServer:
    """Register a server and list its tools; what it is found to be stands in its row. Raises: Invalid, NameTaken."""
    made = register_upstream(actor, fields)
    return made if made.is_in_sandbox else refresh_server(actor, made.id)


def change_server(actor: Actor, server_id: uuid.UUID, changes: dict[str, Any]) -> UpstreamServer:
    """Change a server; one that has to be asked anew is asked at once. Raises: UpstreamMissing, Invalid."""
    changed = update_upstream(actor, server_id, changes)
    if changed.status == UpstreamStatus.UNCHECKED and not changed.is_in_sandbox:
        return refresh_server(actor, server_id)
    return changed


def refresh_server(actor: Actor, server_id: uuid.UUID) -> UpstreamServer:
    """List a server's tools now; what went wrong stands in its row.

    Raises: UpstreamMissing, RoleMissing, UpstreamInSandbox.
    """
    with tenant_transaction(actor.org_id):
        server = lock_own_upstream(actor, server_id)
        refuse_in_sandbox(server)
        if has_credential(server):
            used = Access.by_person(actor, Used.of(server), AccessWay.CHECK, host=host_of(server))
            record_accesses(server.org_id, [used])
    try:
        upstream = open_upstream(server, _run_in_thread)
        tools = asyncio.run(list_tools_once(upstream, network(), timeout_s=server.timeout_s))
        found = record_listing(server.org_id, server.id, tools, shown_to=actor.user_id)
    except SlipwayError as error:
        found = record_failure(server.org_id, server.id, error)
    if found is None:
        raise UpstreamMissing("There is no such MCP server any more.")
    return found


def connect_server(actor: Actor, server_id: uuid.UUID, browser: str = "") -> str:
    """Begin an authorization; returns the page to which its person has to go.

    Raises: UpstreamMissing, RoleMissing, Conflict, NotPermitted, UpstreamRefused, UpstreamAway.
    """
    found = get_connectable(actor, server_id)
    plan = asyncio.run(
        plan_authorization(found.url, redirect_uri(), found.client_id, found.client_secret, network())
    )
    return authorization_url(plan, begin_authorization(actor, server_id, plan, browser))


def finish_connecting(
    user: User, *, state: str, code: str, issuer: str | None, browser: str
) -> UpstreamServer:
    """Turn what a person came back with into a connected server, and list its tools.

    Raises: AuthorizationInvalid, UpstreamMissing, RoleMissing, Conflict, UpstreamRefused, UpstreamAway.
    """
    begun = all_tenants_take_authorization(user.pk, state, browser)
    actor = all_tenants_actor_of(user, begun.org_id)
    granted = asyncio.run(exchange_code(begun.plan, code, issuer, network()))
    finish_authorization(actor, begun.server_id, begun.plan, granted)
    return refresh_server(actor, begun.server_id)


async def _run_in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run database work beside the event loop, and give the thread's connections back."""

    def run() -> T:
        try:
            return function(*args, **kwargs)
        finally:
            connections.close_all()

    return await asyncio.to_thread(run)
