"""`/mcp`: all that a person allowed a program, at one address. Tools of registered servers are `<server>__<tool>`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from mcp.server import ServerRequestContext
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    Tool,
)
from starlette.responses import Response
from starlette.types import Scope

from services.domain.errors import SlipwayError
from services.domain.oauth.resources import ALL_PATH
from services.domain.oauth.servers import PEOPLE_SERVERS
from services.domain.upstreams.models import UpstreamServer
from services.domain.upstreams.names import UPSTREAM_KEY
from services.domain.upstreams.tools import tool_states
from services.mcp_gateway.mcp_servers.door import Door, DoorToAll, Visitor, called_tool
from services.mcp_gateway.mcp_servers.tools import ToolServer
from services.mcp_gateway.mcp_servers.transport import McpEndpoint, visitor_of
from services.mcp_gateway.upstreams.calling import RegisteredTools, Use
from services.mcp_gateway.upstreams.directory import find_persons_servers
from services.mcp_gateway.upstreams.endpoint import beyond

BETWEEN = "__"
LISTING_WAIT_S = 5.0
"""How long a list waits for servers that must be asked; then it has what they said last."""
# No task's token is for all servers together.
_NO_AUDIENCE = "mcp"
_TITLE = "All MCP servers"
_FOUND = "slipway.registered"


class EverythingEndpoint(McpEndpoint):
    """The ASGI app of all servers that serve people, those that somebody registered included."""

    def __init__(self, servers: Sequence[ToolServer], registered: RegisteredTools) -> None:
        served = [server for server in servers if server.name in PEOPLE_SERVERS]
        super().__init__(
            ALL_PATH, _TITLE, served, audience=_NO_AUDIENCE, people=PEOPLE_SERVERS, has_streams=True
        )
        self._door = DoorToAll(ALL_PATH, _TITLE, PEOPLE_SERVERS)
        self._registered = registered

    async def _look_at(self, door: Door, visitor: Visitor, body: bytes, scope: Scope) -> Response | None:
        self._registered.cancel_if_asked(visitor.who, ALL_PATH, body)
        name = called_tool(body)
        found = await self._find(visitor, name) if name is not None else None
        if found is not None:
            scope[_FOUND] = found
            return beyond(door, *found, scope)
        return await super()._look_at(door, visitor, body, scope)

    async def _list_tools(
        self, context: ServerRequestContext[Any], params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        own = await super()._list_tools(context, params)
        visitor = visitor_of(context)
        if visitor is None:
            return own
        servers = await find_persons_servers(visitor.person, _registered_names(visitor))
        listed = await asyncio.gather(*(self._listed(visitor, server) for server in servers))
        tools: dict[str, Tool] = {}
        for tool in (tool for several in listed for tool in several):
            tools.setdefault(tool.name, tool)
        return ListToolsResult(tools=[*own.tools, *tools.values()])

    async def _call_tool(
        self, context: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        found = context.request.scope.get(_FOUND) if context.request is not None else None
        if found is None:
            return await super()._call_tool(context, params)
        use, tool = found
        return await self._registered.call(context, use, params.model_copy(update={"name": tool}), ALL_PATH)

    async def _listed(self, visitor: Visitor, server: UpstreamServer) -> list[Tool]:
        """Return a server's tools under the names that they have here; none of one that has never answered."""
        listings = [tool.listing for tool in tool_states(server) if tool.state == "served"]
        with contextlib.suppress(SlipwayError, TimeoutError):
            asking = self._registered.listed(Use.by_person(visitor, server))
            listings = await asyncio.wait_for(asking, LISTING_WAIT_S)
        return [
            Tool.model_validate({**listing, "name": f"{server.name}{BETWEEN}{listing['name']}"})
            for listing in listings
        ]

    async def _find(self, visitor: Visitor, name: str) -> tuple[Use, str] | None:
        """Return the registered server that a name means, and what the tool is called there.

        Two servers may make one name of theirs; it means the tool that is listed, the first by the server's name.
        """
        if name in self._tools:
            return None
        names = [server for server in _registered_names(visitor) if name.startswith(f"{server}{BETWEEN}")]
        found = [
            (server, name.removeprefix(f"{server.name}{BETWEEN}"))
            for server in await find_persons_servers(visitor.person, names)
        ]
        # Those that serve such a tool first; sorting keeps the order else.
        found.sort(key=lambda meant: not _serves(*meant))
        return (Use.by_person(visitor, found[0][0]), found[0][1]) if found else None


def _registered_names(visitor: Visitor) -> list[str]:
    return [key.removeprefix(UPSTREAM_KEY) for key in visitor.reach if key.startswith(UPSTREAM_KEY)]


def _serves(server: UpstreamServer, tool: str) -> bool:
    return any(known.name == tool and known.state == "served" for known in tool_states(server))
