"""`/mcp/<name>` of a registered server: the platform's own door, and another's tools behind it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

from mcp.server import Server, ServerRequestContext
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    Tool,
)
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from services.domain.calls.models import CallKind
from services.domain.errors import SlipwayError, TokenInvalid, UpstreamMissing
from services.domain.oauth.servers import registered_server
from services.domain.upstreams.names import NAME
from services.domain.upstreams.tools import tool_states
from services.mcp_gateway.call_log import CALL_LOG
from services.mcp_gateway.callers import authenticate, bearer_token
from services.mcp_gateway.mcp_servers.answers import (
    HOSTS,
    METADATA_PATH,
    base_url,
    is_own_host,
    is_public_host,
    readable,
    readers,
    refusal_of,
    unauthorized,
)
from services.mcp_gateway.mcp_servers.bodies import peek
from services.mcp_gateway.mcp_servers.door import NO_GOOD, Door, called_tool
from services.mcp_gateway.mcp_servers.transport import MAX_REQUEST_BYTES
from services.mcp_gateway.upstreams.calling import RegisteredTools, Use, words_of
from services.mcp_gateway.upstreams.directory import find_persons_servers, find_server
from services.mcp_gateway.watch import flooded, too_many, watched

_NAME = re.compile(NAME)
_USE = "slipway.upstream"


class UpstreamEndpoint:
    """The ASGI app of all registered servers. `run` must be entered before it is called; it may be entered again."""

    def __init__(self, tools: RegisteredTools) -> None:
        self._tools = tools
        self._for_agents: StreamableHTTPSessionManager | None = None
        self._for_people: StreamableHTTPSessionManager | None = None

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Make the servers ready to be called."""
        hosts = [*HOSTS, *(f"{host}:*" for host in HOSTS)]
        agents = self._manager(TransportSecuritySettings(allowed_hosts=hosts))
        # The door has looked at the host and at the origin.
        people = self._manager(TransportSecuritySettings(enable_dns_rebinding_protection=False))
        async with agents.run(), people.run():
            self._for_agents, self._for_people = agents, people
            try:
                yield
            finally:
                self._for_agents = self._for_people = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request: find out who calls and what for, then let the protocol's own transport answer."""
        if self._for_agents is None or self._for_people is None:
            raise RuntimeError("the endpoint's run() has not been entered")
        headers, name = Headers(scope=scope), scope["path_params"]["name"]
        token, door = bearer_token(headers), _door_of(name)
        if not _NAME.fullmatch(name):
            await PlainTextResponse("Not Found", 404)(scope, receive, send)
        elif door.is_meant(scope, token):
            send = readable(headers, send)
            if (use := await self._let_in(door, scope, receive, send, token)) is not None:
                await self._serve(self._for_people, door, use, scope, receive, send)
        elif isinstance(admitted := await self._admit(door, scope, token), Response):
            await admitted(scope, receive, send)
        else:
            await self._serve(self._for_agents, door, admitted, scope, receive, send)

    async def describe(self, request: Request) -> Response:
        """Tell a client what the server behind a 401 is; the same for every name. Source: RFC 9728, section 3."""
        name = request.path_params["name"]
        if not is_own_host(request.headers.get("host", "")):
            return PlainTextResponse("Invalid Host header", 421)
        if not _NAME.fullmatch(name):
            return PlainTextResponse("Not Found", 404)
        if is_public_host(request.headers):
            return JSONResponse(_door_of(name).metadata(), headers=readers(request.headers))
        base = base_url(request.scope)
        return JSONResponse(
            {
                "resource": f"{base}/mcp/{name}",
                "authorization_servers": [base],
                "bearer_methods_supported": ["header"],
                "resource_name": name,
            }
        )

    async def _serve(
        self,
        manager: StreamableHTTPSessionManager,
        door: Door,
        use: Use,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        scope[_USE] = use
        body, replay = await peek(receive, MAX_REQUEST_BYTES)
        self._tools.cancel_if_asked(use.who, use.server.name, body)
        if (refusal := beyond(door, use, called_tool(body), scope)) is not None:
            await refusal(scope, replay, send)
            return
        await manager.handle_request(scope, replay, send)

    async def _let_in(self, door: Door, scope: Scope, receive: Receive, send: Send, token: str) -> Use | None:
        """Return what a person's own program asks for; None when it got an answer already."""
        visitor = await door.let_in(scope, receive, send, token)
        if visitor is None:
            return None
        refusal = flooded(str(visitor.who.key))
        if refusal is None:
            servers = await find_persons_servers(visitor.person, [scope["path_params"]["name"]])
            if servers:
                scope["user"] = visitor.user()
                return Use.by_person(visitor, servers[0])
            # Whether there is such a server is nobody's business who may not use it.
            refusal = door.unauthorized(TokenInvalid(NO_GOOD))
        await refusal(scope, receive, send)
        return None

    async def _admit(self, door: Door, scope: Scope, token: str) -> Use | Response:
        """Return what an agent at work asks for, or why it is refused."""
        name = scope["path_params"]["name"]
        if not is_own_host(Headers(scope=scope).get("host", "")):
            return PlainTextResponse("Invalid Host header", 421)
        if scope["method"] != "POST":
            # There are no sessions: nothing to listen to, nothing to end.
            return PlainTextResponse("Method Not Allowed", 405, {"Allow": "POST"})
        try:
            caller = await authenticate(scope, token, f"mcp:{name}")
        except TokenInvalid as error:
            # Whether such a server exists is nobody's business who has no token for it.
            if is_public_host(Headers(scope=scope)):
                return door.unauthorized(error)
            CALL_LOG.turned_away["token"] += 1
            return unauthorized(error, f"{base_url(scope)}{METADATA_PATH}/mcp/{name}")
        if (flood := too_many(caller.task)) is not None:
            return flood
        server = await find_server(caller.task, name)
        if server is None:
            return refusal_of(UpstreamMissing("There is no such MCP server any more."))
        return Use.by_task(caller.task, server)

    def _manager(self, security: TransportSecuritySettings) -> StreamableHTTPSessionManager:
        server: Server[Any] = Server(
            "slipway-upstream",
            version="1",
            # Not the upstream's own instructions: nobody has reviewed those.
            instructions="Tools of another party, offered through the gateway.",
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
        )
        server.middleware.clear()  # its spans trust the caller, as in the platform's own servers
        return StreamableHTTPSessionManager(
            server,
            # Streams, so that progress is passed on while a call runs.
            json_response=False,
            stateless=True,
            security_settings=security,
            max_request_body_size=MAX_REQUEST_BYTES,
        )

    async def _list_tools(
        self, context: ServerRequestContext[Any], params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        use = _use_of(context)
        try:
            listings = await self._tools.listed(use)
        except SlipwayError as error:
            raise MCPError(INTERNAL_ERROR, words_of(error, use.server.name)) from error
        return ListToolsResult(tools=[Tool.model_validate(listing) for listing in listings])

    async def _call_tool(
        self, context: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        use = _use_of(context)
        return await self._tools.call(context, use, params, use.server.name)


def beyond(door: Door, use: Use, name: str | None, scope: Scope) -> Response | None:
    """Refuse a tool that the token does not reach, by the status that lets a client ask for more."""
    if use.reach == "write":
        return None
    tool = next((tool for tool in tool_states(use.server) if tool.name == name), None)
    if tool is None or tool.state != "served" or use.reaches(tool):
        return None
    with watched(use.who, CallKind.UPSTREAM, use.server.name, scope) as watch:
        watch.tool, watch.code = tool.name, "insufficient_scope"
    return door.beyond(registered_server(use.server.name))


def _door_of(name: str) -> Door:
    server = registered_server(name)
    return Door(f"/mcp/{name}", name, {server.key: server})


def _use_of(context: ServerRequestContext[Any]) -> Use:
    if not isinstance(context.request, Request):
        raise TypeError("a server is reached over HTTP only")
    use: Use = context.request.scope[_USE]
    return use
