"""The HTTP that agents and people's programs reach: MCP servers, the model proxy, ready to be mounted in one app."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Sequence

from starlette.routing import BaseRoute, Route

from services.adapters.models.wire import ModelServers
from services.adapters.upstreams.network import Network
from services.kit.environment import environment
from services.mcp_gateway.access_log import ACCESS_LOG
from services.mcp_gateway.call_log import CALL_LOG
from services.mcp_gateway.caller_cache import listening
from services.mcp_gateway.everything import EverythingEndpoint
from services.mcp_gateway.holding.desk import DESK
from services.mcp_gateway.limits import LIMITS
from services.mcp_gateway.llm.admission import RulesKept
from services.mcp_gateway.llm.anthropic import AnthropicProxy
from services.mcp_gateway.llm.openai import OpenaiProxy
from services.mcp_gateway.llm.proxy import ModelProxy
from services.mcp_gateway.llm.reservations import Reservations
from services.mcp_gateway.llm.vendor import Vendor
from services.mcp_gateway.mcp_servers import (
    calendar,
    chat,
    composio,
    github,
    gmail,
    mail,
    memory,
    notify,
    platform,
    teller,
)
from services.mcp_gateway.mcp_servers.answers import METADATA_PATH
from services.mcp_gateway.mcp_servers.holding import OwnTools
from services.mcp_gateway.mcp_servers.transport import McpEndpoint
from services.mcp_gateway.upstreams.calling import RegisteredTools
from services.mcp_gateway.upstreams.endpoint import UpstreamEndpoint

TOOL_SERVERS = (
    memory.SERVER,
    notify.SERVER,
    chat.SERVER,
    platform.SERVER,
    gmail.SERVER,
    github.SERVER,
    mail.SERVER,
    teller.SERVER,
    composio.SERVER,
    calendar.SERVER,
)
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class AgentHttp:
    """Everything behind one set of routes, and what must run while they are served."""

    def __init__(
        self, anthropic: Vendor, openai: Vendor | None = None, *, more: Sequence[McpEndpoint] = ()
    ) -> None:
        network = Network(internal_hosts=environment().internal_hosts())
        self._registered = RegisteredTools(network)
        self._upstreams = UpstreamEndpoint(self._registered)
        self._all = EverythingEndpoint(TOOL_SERVERS, self._registered)
        self._endpoints = [*(McpEndpoint.of(server) for server in TOOL_SERVERS), self._all, *more]
        own = OwnTools(TOOL_SERVERS)
        for server in TOOL_SERVERS:
            DESK.serve(own, server.name)
        DESK.serve(self._registered)
        # One count of open calls for both: a task is as greedy as all its calls together.
        reservations, rules = Reservations(), RulesKept()
        self._model_servers = ModelServers(network)
        self._proxies: dict[str, ModelProxy] = {
            "anthropic": AnthropicProxy(anthropic, reservations, rules, self._model_servers)
        }
        if openai is not None:
            self._proxies["openai"] = OpenaiProxy(openai, reservations, rules, self._model_servers)

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            *(Route(endpoint.path, endpoint) for endpoint in self._endpoints),
            # Beside the servers and not below them: that is where clients are told to look.
            *(Route(endpoint.metadata_path, endpoint.describe) for endpoint in self._endpoints),
            # Where a client looks last, whatever it was given.
            Route(METADATA_PATH, self._all.describe),
            # After the platform's own servers, whose names no other has.
            Route("/mcp/{name}", self._upstreams),
            Route(f"{METADATA_PATH}/mcp/{{name}}", self._upstreams.describe),
            *(
                Route(f"/llm/{name}/{{path:path}}", proxy, methods=_METHODS)
                for name, proxy in self._proxies.items()
            ),
        ]

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Run what the routes need; may be entered again after it was left."""
        async with contextlib.AsyncExitStack() as stack:
            for running in (listening(), CALL_LOG.run(), ACCESS_LOG.run(), LIMITS.run()):
                await stack.enter_async_context(running)
            await stack.enter_async_context(self._registered.run())
            for endpoint in self._endpoints:
                await stack.enter_async_context(endpoint.run())
            await stack.enter_async_context(self._upstreams.run())
            await stack.enter_async_context(self._model_servers)
            # Last, because it calls what all the others serve.
            await stack.enter_async_context(DESK.run())
            yield


@functools.cache
def _of_this_process() -> AgentHttp:
    return AgentHttp(Vendor.of(environment()), Vendor.openai_of(environment()))


def build_routes() -> list[BaseRoute]:
    """Return the routes of this process's settings."""
    return _of_this_process().routes()


@contextlib.asynccontextmanager
async def lifespan_contexts() -> AsyncIterator[None]:
    """Run what `build_routes` needs, for as long as it is served."""
    async with _of_this_process().run():
        yield
