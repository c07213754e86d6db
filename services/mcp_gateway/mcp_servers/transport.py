"""Serves a tool server over streamable HTTP, stateless, in both revisions of the protocol, behind its tasks' tokens."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from mcp.server import Server, ServerRequestContext
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
)
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from services.domain.calls.models import CallKind
from services.domain.errors import TokenInvalid
from services.mcp_gateway.call_log import CALL_LOG
from services.mcp_gateway.callers import Caller, authenticate, bearer_token
from services.mcp_gateway.mcp_servers.tools import ToolServer
from services.mcp_gateway.watch import too_many, watched

HOSTS = ("gateway", "gw", "127.0.0.1", "localhost")
"""The names under which the gateway is called. Any other is a page that pretends to be us (DNS rebinding)."""
METADATA_PATH = "/.well-known/oauth-protected-resource"
MAX_REQUEST_BYTES = 1024**2
_CALLER = "slipway.caller"


class McpEndpoint:
    """The ASGI app of one tool server. `run` must be entered before it is called; it may be entered again later."""

    def __init__(self, tool_server: ToolServer) -> None:
        self.tool_server = tool_server
        self._tools = {tool.name: tool for tool in tool_server.tools}
        self._listing = ListToolsResult(tools=[tool.listing() for tool in tool_server.tools])
        self._manager: StreamableHTTPSessionManager | None = None

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Make the server ready to be called."""
        server: Server[Any] = Server(
            f"slipway-{self.tool_server.name}",
            version="1",
            title=self.tool_server.title,
            instructions=self.tool_server.instructions,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            get_tool_input_schema=self._input_schema,
        )
        manager = StreamableHTTPSessionManager(
            server,
            json_response=True,
            stateless=True,
            security_settings=TransportSecuritySettings(
                allowed_hosts=[*HOSTS, *(f"{host}:*" for host in HOSTS)]
            ),
            max_request_body_size=MAX_REQUEST_BYTES,
        )
        async with manager.run():
            self._manager = manager
            try:
                yield
            finally:
                self._manager = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request: find out who calls, then let the protocol's own transport answer."""
        refusal = await self._admit(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        if self._manager is None:
            raise RuntimeError("the server's run() has not been entered")
        await self._manager.handle_request(scope, receive, send)

    @property
    def metadata_path(self) -> str:
        """Return where the server says what it is."""
        return f"{METADATA_PATH}{self.tool_server.path}"

    async def describe(self, request: Request) -> Response:
        """Tell a client what the server behind a 401 is. Source: RFC 9728, section 3.

        Tokens are handed out with a turn, not by an authorization server that could be asked; the gateway's own
        address stands where the specification wants one.
        """
        if not is_own_host(request.headers.get("host", "")):
            return PlainTextResponse("Invalid Host header", 421)
        base = base_url(request.scope)
        return JSONResponse(
            {
                "resource": f"{base}{self.tool_server.path}",
                "authorization_servers": [base],
                "bearer_methods_supported": ["header"],
                "resource_name": self.tool_server.title,
            }
        )

    async def _admit(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not is_own_host(headers.get("host", "")):
            return PlainTextResponse("Invalid Host header", 421)
        if scope["method"] != "POST":
            # There are no sessions: nothing to listen to, nothing to end.
            return PlainTextResponse("Method Not Allowed", 405, {"Allow": "POST"})
        try:
            caller = await authenticate(scope, bearer_token(headers), self.tool_server.audience)
        except TokenInvalid as error:
            CALL_LOG.turned_away["token"] += 1
            return unauthorized(error, f"{base_url(scope)}{self.metadata_path}")
        scope[_CALLER] = caller
        return too_many(caller.task)

    async def _list_tools(
        self, context: ServerRequestContext[Any], params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return self._listing

    async def _call_tool(
        self, context: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        if not isinstance(context.request, Request):
            raise TypeError("a tool is called over HTTP only")
        caller: Caller = context.request.scope[_CALLER]
        tool = self._tools.get(params.name)
        with watched(caller.task, CallKind.OWN, self.tool_server.name, context.request.scope) as watch:
            if tool is None:
                watch.code = "unknown_tool"
                known = ", ".join(self._tools)
                raise MCPError(INVALID_PARAMS, f"Unknown tool: {params.name[:100]}. There are: {known}")
            watch.tool = tool.name
            refusal = await watch.admitted(tool.rate)
            return watch.own(refusal or await tool.call(caller, params.arguments or {}))

    def _input_schema(self, name: str) -> dict[str, Any] | None:
        tool = self._tools.get(name)
        return tool.input.model_json_schema() if tool else None


def is_own_host(host: str) -> bool:
    """Say whether a Host header names the gateway."""
    name, _, port = host.partition(":")
    return name in HOSTS and (not port or port.isdigit())


def base_url(scope: Scope) -> str:
    """Return the address under which the caller reaches the gateway."""
    return f"{scope.get('scheme', 'http')}://{Headers(scope=scope)['host']}"


def unauthorized(error: TokenInvalid, metadata_url: str) -> Response:
    """Answer a call without a good token, and say where to read what this is. Source: RFC 9728, section 5.1."""
    challenge = f'Bearer error="invalid_token", error_description="{error.message}", resource_metadata="{metadata_url}"'
    return JSONResponse(
        {"error": {"code": error.code, "message": error.message}}, 401, {"WWW-Authenticate": challenge}
    )
