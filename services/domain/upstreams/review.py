"""Accepting the tools of a server as they are."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from services.domain.actors import Actor, require
from services.domain.errors import Invalid, ToolsChangedAgain, UpstreamMissing
from services.domain.events.announcing import announce_change
from services.domain.events.listed import McpServerChanged
from services.domain.upstreams.in_sandbox import refuse_in_sandbox
from services.domain.upstreams.models import UpstreamServer, UpstreamStatus
from services.domain.upstreams.queries import ADMINS
from services.domain.upstreams.telling import tell_state
from services.domain.upstreams.tools import withheld_tools
from services.kit.clock import now


def lock_own_upstream(actor: Actor, server_id: uuid.UUID) -> UpstreamServer:
    """Return a server that the actor may change, locked: an admin any, a member a personal one.

    Raises: UpstreamMissing, RoleMissing, ScopeMissing.
    """
    require(actor, "mcp_servers:write", role="member")
    server = UpstreamServer.objects.select_for_update().filter(id=server_id).first()
    is_own = server is not None and server.owner_id is not None and server.owner_id == actor.user_id
    if server is None or (server.owner_id is not None and not is_own and actor.role not in ADMINS):
        raise UpstreamMissing("There is no such MCP server.")
    if not is_own:
        require(actor, "mcp_servers:write", role="admin")
    return server


def accept_tools(
    actor: Actor, server_id: uuid.UUID, digest: str, names: Collection[str] | None = None
) -> UpstreamServer:
    """Accept what waits for a review, or those named, inside the caller's transaction.

    `digest` says which listing was looked at. Locks: the server. Emits: McpServerChanged.
    Raises: UpstreamMissing, RoleMissing, UpstreamInSandbox, ToolsChangedAgain, Invalid.
    """
    server = lock_own_upstream(actor, server_id)
    refuse_in_sandbox(server)
    if digest != server.tools_digest:
        raise ToolsChangedAgain("The tools have changed since they were shown. Look at them again.")
    waiting = {tool.name for tool in withheld_tools(server)}
    chosen = waiting if names is None else set(names)
    unknown = sorted(chosen - waiting)
    if unknown:
        raise Invalid("These tools do not wait for a review.", fields={"tools": ", ".join(unknown)[:300]})
    listed = {tool["listing"]["name"]: tool for tool in server.tools}
    kept = {name: tool for name, tool in (server.reviewed or {}).items() if name in listed}
    server.reviewed = kept | {name: listed[name] for name in chosen}
    if server.status == UpstreamStatus.CHANGED and not withheld_tools(server):
        server.status, server.last_error = UpstreamStatus.OK, ""
        tell_state(server)
    server.updated_at = now()
    server.save(update_fields=["reviewed", "status", "last_error", "updated_at"])
    announce_change(McpServerChanged, server)
    return server
