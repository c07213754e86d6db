"""Serves tool servers over streamable HTTP in both revisions of the protocol: agents by their tasks' tokens, without
sessions, and people's own programs where a server takes them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
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
from starlette.types import Message, Receive, Scope, Send

from services.domain.calls.models import CallKind
from services.domain.errors import TokenInvalid
from services.domain.oauth.resources import gateway_host
from services.domain.oauth.servers import PEOPLE_SERVERS, PeopleServer
from services.kit.clock import now
from services.mcp_gateway.call_log import CALL_LOG
from services.mcp_gateway.callers import Caller, authenticate, bearer_token
from services.mcp_gateway.holding.desk import DESK
from services.mcp_gateway.holding.words import failed
from services.mcp_gateway.mcp_servers.answers import (
    HOSTS,
    METADATA_PATH,
    base_url,
    is_own_host,
    is_public_host,
    readable,
    readers,
    unauthorized,
)
from services.mcp_gateway.mcp_servers.bodies import peek
from services.mcp_gateway.mcp_servers.door import Door, Visitor, called_tool
from services.mcp_gateway.mcp_servers.holding import as_asked
from services.mcp_gateway.mcp_servers.resuming import RETRY_MS, SessionManager
from services.mcp_gateway.mcp_servers.tools import Tool, ToolServer
from services.mcp_gateway.watch import flooded, too_many, watched, who_of

MAX_REQUEST_BYTES = 1024**2
MAX_SESSIONS = 1_000
SESSION_IDLE_S = 1_800.0
LONGEST_STREAM_S = 900.0
_CALLER = "slipway.caller"
_VISITOR = "slipway.visitor"

BuildServer = Callable[[], Server[Any]]


class McpEndpoint:
    """The ASGI app of tool servers at one path. `run` must be entered before it is called; it may be entered again.

    With `has_sessions` people's programs of the older revisions get sessions, so that the server can ask and tell on
    its own; without, every request stands for itself, and any process of the gateway answers it. With `has_streams`
    people's programs are answered by streams, so that they hear of progress.
    """

    def __init__(
        self,
        path: str,
        title: str,
        tool_servers: Sequence[ToolServer],
        *,
        audience: str,
        people: Mapping[str, PeopleServer],
        build: BuildServer | None = None,
        has_sessions: bool = False,
        has_streams: bool = False,
    ) -> None:
        self.path = path
        self._title, self._servers, self._audience = title, tuple(tool_servers), audience
        self._door = Door(path, title, people) if people else None
        self._tools: dict[str, tuple[ToolServer, Tool[Any]]] = {}
        for server in self._servers:
            for tool in server.tools:
                if self._tools.setdefault(tool.name, (server, tool))[0] is not server:
                    raise ValueError(f"two servers behind {path} have a tool named {tool.name}")
        self._listings = {server.name: [tool.listing() for tool in server.tools] for server in self._servers}
        # Asked for with each call, and dearer to make than the call itself.
        self._input_schemas = {
            listing.name: listing.input_schema for listings in self._listings.values() for listing in listings
        }
        self._build = build or self._build_server
        self._has_sessions, self._has_streams = has_sessions, has_streams or has_sessions
        self._for_agents: StreamableHTTPSessionManager | None = None
        self._for_people: StreamableHTTPSessionManager | None = None

    @classmethod
    def of(cls, server: ToolServer) -> McpEndpoint:
        """Return the endpoint of one server: for agents, and for people where the domain says so."""
        people = {server.name: PEOPLE_SERVERS[server.name]} if server.name in PEOPLE_SERVERS else {}
        return cls(server.path, server.title, [server], audience=server.audience, people=people)

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Make the servers ready to be called."""
        hosts = [*HOSTS, *(f"{host}:*" for host in HOSTS), gateway_host()]
        agents = _manager(self._build(), TransportSecuritySettings(allowed_hosts=hosts))
        # The door has looked at the host and at the origin.
        at_the_door = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        people = _manager(
            self._build(), at_the_door, has_sessions=self._has_sessions, has_streams=self._has_streams
        )
        async with agents.run(), people.run():
            self._for_agents, self._for_people = agents, people
            try:
                yield
            finally:
                self._for_agents = self._for_people = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request: find out who calls, then let the protocol's own transport answer."""
        headers = Headers(scope=scope)
        token = bearer_token(headers)
        if self._door is not None and self._door.is_meant(scope, token):
            await self._answer_person(self._door, scope, receive, readable(headers, send), token)
            return
        refusal = await self._admit(scope, token)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        if self._for_agents is None:
            raise RuntimeError("the server's run() has not been entered")
        await self._for_agents.handle_request(scope, receive, send)

    @property
    def metadata_path(self) -> str:
        """Return where the server says what it is."""
        return f"{METADATA_PATH}{self.path}"

    async def describe(self, request: Request) -> Response:
        """Tell a client what the server behind a 401 is. Source: RFC 9728, section 3.

        An agent's token is handed out with its turn, not by an authorization server that could be asked; the
        gateway's own address stands where the specification wants one.
        """
        if not is_own_host(request.headers.get("host", "")):
            return PlainTextResponse("Invalid Host header", 421)
        if self._door is not None and is_public_host(request.headers):
            return JSONResponse(self._door.metadata(), headers=readers(request.headers))
        base = base_url(request.scope)
        return JSONResponse(
            {
                "resource": f"{base}{self.path}",
                "authorization_servers": [base],
                "bearer_methods_supported": ["header"],
                "resource_name": self._title,
            }
        )

    # --- agents --------------------------------------------------------------------------------------

    async def _admit(self, scope: Scope, token: str) -> Response | None:
        if not is_own_host(Headers(scope=scope).get("host", "")):
            return PlainTextResponse("Invalid Host header", 421)
        if scope["method"] != "POST":
            # There are no sessions: nothing to listen to, nothing to end.
            return PlainTextResponse("Method Not Allowed", 405, {"Allow": "POST"})
        try:
            scope[_CALLER] = await authenticate(scope, token, self._audience)
        except TokenInvalid as error:
            return self._unauthorized(scope, error)
        return too_many(scope[_CALLER].task)

    def _unauthorized(self, scope: Scope, error: TokenInvalid) -> Response:
        """Refuse a token, in the same words whatever is wrong with it."""
        if self._door is not None and is_public_host(Headers(scope=scope)):
            return self._door.unauthorized(error)
        CALL_LOG.turned_away["token"] += 1
        return unauthorized(error, f"{base_url(scope)}{self.metadata_path}")

    # --- people --------------------------------------------------------------------------------------

    async def _answer_person(
        self, door: Door, scope: Scope, receive: Receive, send: Send, token: str
    ) -> None:
        methods = ("POST", "GET", "DELETE") if self._has_sessions else ("POST",)
        visitor = await door.let_in(scope, receive, send, token, methods)
        if visitor is None:
            return
        if self._for_people is None:
            raise RuntimeError("the server's run() has not been entered")
        scope[_VISITOR], scope["user"] = visitor, visitor.user()
        if scope["method"] == "GET":
            await _while_token_lives(visitor, self._for_people, scope, receive, send)
            return
        body, replay = await peek(receive, MAX_REQUEST_BYTES)
        refusal = flooded(str(visitor.who.key)) or await self._look_at(door, visitor, body, scope)
        if refusal is not None:
            await refusal(scope, replay, send)
            return
        await self._for_people.handle_request(scope, replay, send)

    async def _look_at(self, door: Door, visitor: Visitor, body: bytes, scope: Scope) -> Response | None:
        """Refuse a call that the token does not reach, by the status that lets a client ask for more."""
        name = called_tool(body)
        if name is None or name not in self._tools:
            return None
        server, tool = self._tools[name]
        if _reaches(visitor, server, tool):
            return None
        with watched(visitor.who, CallKind.OWN, server.name, scope) as watch:
            watch.tool, watch.code = tool.name, "insufficient_scope"
        return door.beyond(door.servers[server.name])

    # --- tools ---------------------------------------------------------------------------------------

    def _build_server(self) -> Server[Any]:
        first = self._servers[0]
        return Server(
            f"slipway-{first.name}" if len(self._servers) == 1 else "slipway",
            version="1",
            title=self._title,
            instructions="\n\n".join(server.instructions for server in self._servers),
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            get_tool_input_schema=self._input_schema,
        )

    async def _list_tools(
        self, context: ServerRequestContext[Any], params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        visitor = visitor_of(context)
        names = self._listings if visitor is None else visitor.reach
        return ListToolsResult(tools=[tool for name in names for tool in self._listings.get(name, ())])

    async def _call_tool(
        self, context: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        found = self._tools.get(params.name)
        scope = _request_of(context).scope
        visitor = visitor_of(context)
        who = who_of(scope[_CALLER].task) if visitor is None else visitor.who
        server_name = self._servers[0].name if found is None else found[0].name
        with watched(who, CallKind.OWN, server_name, scope) as watch:
            if found is None:
                watch.code = "unknown_tool"
                known = ", ".join(self._tools)
                raise MCPError(INVALID_PARAMS, f"Unknown tool: {params.name[:100]}. There are: {known}")
            server, tool = found
            watch.tool = tool.name
            if visitor is not None and not _reaches(visitor, server, tool):
                # The status was decided by a first look at the body; what runs is decided here.
                return watch.own(failed(f"insufficient_scope: This needs the scope mcp:{server.name}."))
            caller: Caller = (
                scope[_CALLER] if visitor is None else visitor.caller(PEOPLE_SERVERS[server.name])
            )
            refusal = await watch.admitted(tool.rate)
            if refusal is not None:
                return watch.own(refusal)
            arguments = params.arguments or {}
            asked = as_asked(server.name, tool, arguments)
            if visitor is not None:
                if (refused := await DESK.refusal_for(visitor.person, asked)) is not None:
                    return watch.own(refused)
            elif (instead := await DESK.instead_of(caller.task, asked)) is not None:
                return watch.held(instead)
            return watch.own(await tool.call(caller, arguments))

    def _input_schema(self, name: str) -> dict[str, Any] | None:
        return self._input_schemas.get(name)


def _manager(
    server: Server[Any],
    security: TransportSecuritySettings,
    *,
    has_sessions: bool = False,
    has_streams: bool = False,
) -> StreamableHTTPSessionManager:
    # The SDK's own spans take what the caller names as their parent, and repeat its words in their errors.
    server.middleware.clear()
    return SessionManager(
        server,
        json_response=not has_streams,
        stateless=not has_sessions,
        security_settings=security,
        retry_interval=RETRY_MS,
        session_idle_timeout=SESSION_IDLE_S,
        max_request_body_size=MAX_REQUEST_BYTES,
        max_sessions=MAX_SESSIONS,
    )


def _reaches(visitor: Visitor, server: ToolServer, tool: Tool[Any]) -> bool:
    reach = visitor.reach.get(server.name)
    return reach == "write" or (reach == "read" and tool.reads_only)


async def _while_token_lives(
    visitor: Visitor, manager: StreamableHTTPSessionManager, scope: Scope, receive: Receive, send: Send
) -> None:
    """Let a program listen, no longer than its token is good: then it comes again with the next one."""
    left_s = LONGEST_STREAM_S
    if visitor.expires_at is not None:
        left_s = min(left_s, (visitor.expires_at - now()).total_seconds())
    has_begun = False

    async def note_begin(message: Message) -> None:
        nonlocal has_begun
        has_begun = True
        await send(message)

    try:
        async with asyncio.timeout(left_s):
            await manager.handle_request(scope, receive, note_begin)
    except TimeoutError:
        if has_begun:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def visitor_of(context: ServerRequestContext[Any]) -> Visitor | None:
    """Return whose program a request is from; None for an agent's."""
    visitor: Visitor | None = _request_of(context).scope.get(_VISITOR)
    return visitor


def _request_of(context: ServerRequestContext[Any]) -> Request:
    if not isinstance(context.request, Request):
        raise TypeError("a server is reached over HTTP only")
    return context.request
