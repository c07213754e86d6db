"""Calls of the platform's own tools as the rules judge them, and making those that were held."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from mcp_types import CallToolResult

from services.domain.approvals.held import Claim
from services.domain.calls.models import CallKind
from services.domain.tasks.models import Task
from services.mcp_gateway.callers import AgentCaller
from services.mcp_gateway.holding.desk import Asked
from services.mcp_gateway.mcp_servers.tools import Tool, ToolServer
from services.mcp_gateway.watch import watched, who_of


def as_asked(server: str, tool: Tool[Any], arguments: dict[str, Any]) -> Asked:
    """Return a call for the desk."""
    return Asked(server, tool.name, arguments, tool.default_hold, functools.partial(tool.prepare, arguments))


class OwnTools:
    """All tools of some servers, for calls that were held."""

    def __init__(self, servers: Iterable[ToolServer]) -> None:
        self._tools = {(server.name, tool.name): tool for server in servers for tool in server.tools}

    async def find_target(self, task: Task, server: str, tool: str) -> str:
        """Return a hash of what a tool says that it is; empty when there is no such tool."""
        found = self._tools.get((server, tool))
        return found.fingerprint if found else ""

    async def run_held(self, task: Task, server: str, tool: str, claim: Claim) -> CallToolResult:
        """Make a call that a person allowed."""
        with watched(who_of(task), CallKind.OWN, server, {}) as watch:
            watch.tool = tool
            caller = AgentCaller(task, claim.files)
            return watch.own(await self._tools[server, tool].call(caller, claim.arguments))
