"""A registered server, agents that use it, and what is stored of it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from conftest import Tenant
from services.api.upstreams import add_server
from services.domain.agents.actions import update_agent
from services.domain.agents.models import Agent
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.actions import NewUpstream
from services.domain.upstreams.models import UpstreamServer
from tests.gateway.serving import Working, at_work


def register(tenant: Tenant, url: str, **fields: Any) -> UpstreamServer:
    return add_server(tenant.owner, NewUpstream(**{"name": "weather", "url": url, **fields}))


def work(tenant: Tenant, agent: Agent, **order: Any) -> Working:
    """Put an agent that lists the server to work."""
    update_agent(tenant.owner, agent.id, {"mcp_servers": ["memory", "weather"]})
    return at_work(tenant, agent, **order)


class Weather:
    """An agent's client of the server, in either revision."""

    def __init__(self, gateway: str, working: Working, mode: str = "legacy") -> None:
        self.url, self.mode = f"{gateway}/mcp/weather", mode
        self.headers = {"Authorization": f"Bearer {working.tokens['mcp:weather']}", "X-Agent": "secret"}

    def run(self, converse) -> Any:
        async def whole() -> Any:
            async with (
                httpx2.AsyncClient(headers=self.headers, timeout=30) as http,
                Client(streamable_http_client(self.url, http_client=http), mode=self.mode) as client,
            ):
                return await converse(client)

        return asyncio.run(whole())

    def tools(self) -> list[str]:
        listed = self.run(lambda client: client.list_tools(cache_mode="bypass"))
        return [tool.name for tool in listed.tools]

    def call(self, tool: str, **arguments: Any) -> Any:
        return self.run(lambda client: client.call_tool(tool, arguments))

    def refused(self, tool: str, **arguments: Any) -> str:
        result = self.call(tool, **arguments)
        assert result.is_error, result
        text: str = result.content[0].text
        return text


def stored(server: UpstreamServer) -> UpstreamServer:
    with tenant_transaction(server.org_id):
        return UpstreamServer.objects.get(id=server.id)
