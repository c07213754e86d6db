"""The HTTP that an agent reaches: MCP servers and the model proxy, ready to be mounted in one Starlette app."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator

from starlette.routing import BaseRoute, Route

from services.kit.environment import environment
from services.mcp_gateway.llm.anthropic import AnthropicProxy, Vendor
from services.mcp_gateway.mcp_servers import memory, notify, platform
from services.mcp_gateway.mcp_servers.transport import McpEndpoint

TOOL_SERVERS = (memory.SERVER, notify.SERVER, platform.SERVER)
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class AgentHttp:
    """Everything behind one set of routes, and what must run while they are served."""

    def __init__(self, vendor: Vendor) -> None:
        self._endpoints = [McpEndpoint(server) for server in TOOL_SERVERS]
        self._anthropic = AnthropicProxy(vendor)

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            *(Route(endpoint.tool_server.path, endpoint) for endpoint in self._endpoints),
            # Beside the servers and not below them: that is where clients are told to look.
            *(Route(endpoint.metadata_path, endpoint.describe) for endpoint in self._endpoints),
            Route("/llm/anthropic/{path:path}", self._anthropic.answer, methods=_METHODS),
        ]

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Run what the routes need; may be entered again after it was left."""
        async with contextlib.AsyncExitStack() as stack:
            for endpoint in self._endpoints:
                await stack.enter_async_context(endpoint.run())
            await stack.enter_async_context(self._anthropic.run())
            yield


@functools.cache
def _of_this_process() -> AgentHttp:
    return AgentHttp(Vendor.of(environment()))


def build_routes() -> list[BaseRoute]:
    """Return the routes of this process's settings."""
    return _of_this_process().routes()


@contextlib.asynccontextmanager
async def lifespan_contexts() -> AsyncIterator[None]:
    """Run what `build_routes` needs, for as long as it is served."""
    async with _of_this_process().run():
        yield
