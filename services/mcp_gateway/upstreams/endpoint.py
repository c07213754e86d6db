"""`/mcp/<name>` of a registered server: the platform's own door, and another's tools behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from mcp.server import Server, ServerRequestContext
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from services.adapters.upstreams.client import OnProgress, connect
from services.adapters.upstreams.network import Network
from services.domain.approvals.held import Claim
from services.domain.calls.models import CallKind
from services.domain.errors import (
    SlipwayError,
    TokenInvalid,
    UpstreamAway,
    UpstreamMissing,
    UpstreamUnauthorised,
)
from services.domain.tasks.models import Task
from services.domain.upstreams.credentials import SERVER_GRANTS, open_upstream
from services.domain.upstreams.models import UpstreamServer
from services.domain.upstreams.tools import tool_states
from services.mcp_gateway.call_log import CALL_LOG
from services.mcp_gateway.callers import authenticate, bearer_token
from services.mcp_gateway.holding.desk import DESK
from services.mcp_gateway.mcp_servers.bodies import peek
from services.mcp_gateway.mcp_servers.transport import (
    HOSTS,
    MAX_REQUEST_BYTES,
    METADATA_PATH,
    base_url,
    is_own_host,
    unauthorized,
)
from services.mcp_gateway.threads import run_in_thread
from services.mcp_gateway.upstreams.directory import Listings, find_server, note_failure, note_use
from services.mcp_gateway.upstreams.holding import as_asked, target_of
from services.mcp_gateway.upstreams.sessions import SessionKey, Sessions, ToolCall
from services.mcp_gateway.watch import UNKNOWN, Watch, too_many, watched, who_of

MAX_RESULT_BYTES = 4 * 1024**2
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_PROGRESS_EVERY_S = 0.05
_MAX_PROGRESS_CHARS = 1_000
_USE = "slipway.upstream"


@dataclass(frozen=True, slots=True)
class Use:
    """One request's task, and the server that it is for."""

    task: Task
    server: UpstreamServer


class UpstreamEndpoint:
    """The ASGI app of all registered servers. `run` must be entered before it is called; it may be entered again."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._listings = Listings(network)
        self._sessions = Sessions()
        self._calls: dict[tuple[uuid.UUID, str, str], list[asyncio.Task[CallToolResult]]] = {}
        self._manager: StreamableHTTPSessionManager | None = None

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Make the servers ready to be called."""
        server: Server[Any] = Server(
            "slipway-upstream",
            version="1",
            # Not the upstream's own instructions: nobody has reviewed those.
            instructions="Tools of another party, offered through the gateway.",
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
        )
        server.middleware.clear()  # its spans trust the caller, as in the platform's own servers
        manager = StreamableHTTPSessionManager(
            server,
            # Streams, so that progress is passed on while a call runs.
            json_response=False,
            stateless=True,
            security_settings=TransportSecuritySettings(
                allowed_hosts=[*HOSTS, *(f"{host}:*" for host in HOSTS)]
            ),
            max_request_body_size=MAX_REQUEST_BYTES,
        )
        async with self._sessions.run(), manager.run():
            self._manager = manager
            try:
                yield
            finally:
                self._manager = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request: find out who calls and what for, then let the protocol's own transport answer."""
        refusal = await self._admit(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        if self._manager is None:
            raise RuntimeError("the endpoint's run() has not been entered")
        body, replay = await peek(receive, MAX_REQUEST_BYTES)
        self._cancel_if_asked(scope[_USE], body)
        await self._manager.handle_request(scope, replay, send)

    async def describe(self, request: Request) -> Response:
        """Tell a client what the server behind a 401 is; the same for every name. Source: RFC 9728, section 3."""
        name = request.path_params["name"]
        if not is_own_host(request.headers.get("host", "")):
            return PlainTextResponse("Invalid Host header", 421)
        if not _NAME.fullmatch(name):
            return PlainTextResponse("Not Found", 404)
        base = base_url(request.scope)
        return JSONResponse(
            {
                "resource": f"{base}/mcp/{name}",
                "authorization_servers": [base],
                "bearer_methods_supported": ["header"],
                "resource_name": name,
            }
        )

    async def _admit(self, scope: Scope) -> Response | None:
        headers, name = Headers(scope=scope), scope["path_params"]["name"]
        if not is_own_host(headers.get("host", "")):
            return PlainTextResponse("Invalid Host header", 421)
        if scope["method"] != "POST":
            # There are no sessions: nothing to listen to, nothing to end.
            return PlainTextResponse("Method Not Allowed", 405, {"Allow": "POST"})
        try:
            caller = await authenticate(scope, bearer_token(headers), f"mcp:{name}")
        except TokenInvalid as error:
            CALL_LOG.turned_away["token"] += 1
            # Whether such a server exists is nobody's business who has no token for it.
            return unauthorized(error, f"{base_url(scope)}{METADATA_PATH}/mcp/{name}")
        if (flood := too_many(caller.task)) is not None:
            return flood
        server = await find_server(caller.task, name)
        if server is None:
            missing = UpstreamMissing("There is no such MCP server any more.")
            return JSONResponse({"error": {"code": missing.code, "message": missing.message}}, missing.status)
        scope[_USE] = Use(caller.task, server)
        return None

    async def _list_tools(
        self, context: ServerRequestContext[Any], params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        try:
            server = await self._listings.current(_use_of(context).server, _use_of(context).task)
        except SlipwayError as error:
            raise MCPError(INTERNAL_ERROR, _words(error, _use_of(context).server.name)) from error
        served = [tool.listing for tool in tool_states(server) if tool.state == "served"]
        return ListToolsResult(tools=[Tool.model_validate(listing) for listing in served])

    async def _call_tool(
        self, context: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        use = _use_of(context)
        scope = context.request.scope if context.request is not None else {}
        with watched(who_of(use.task), CallKind.UPSTREAM, use.server.name, scope) as watch:
            return await self._call_watched(context, use, params, watch)

    async def _call_watched(
        self, context: ServerRequestContext[Any], use: Use, params: CallToolRequestParams, watch: Watch
    ) -> CallToolResult:
        call = asyncio.create_task(self._run(use, params, _throttled(context), watch))
        key = (use.task.id, use.server.name, str(context.request_id))
        self._calls.setdefault(key, []).append(call)
        try:
            await asyncio.wait({call})
            if call.cancelled():
                return watch.own(_failed("cancelled: The call was cancelled."))
            return call.result()
        finally:
            call.cancel()
            await asyncio.wait({call})
            self._calls[key].remove(call)
            if not self._calls[key]:
                del self._calls[key]

    def _cancel_if_asked(self, use: Use, body: bytes) -> None:
        """Cancel the call that a `notifications/cancelled` names, if it names one: without sessions no other does.

        Two clients of one task may count their requests alike; then neither is cancelled.
        """
        if b"notifications/cancelled" not in body:
            return
        try:
            named = json.loads(body)["params"]["requestId"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        calls = self._calls.get((use.task.id, use.server.name, str(named)), [])
        if len(calls) == 1:
            calls[0].cancel()

    async def _run(
        self,
        use: Use,
        params: CallToolRequestParams,
        on_progress: OnProgress,
        watch: Watch,
        *,
        is_allowed: bool = False,
    ) -> CallToolResult:
        server = use.server
        try:
            server = await self._listings.current(server, use.task)
            self._refuse_unserved(server, params.name, watch)
            if not is_allowed:
                if (refusal := await watch.admitted()) is not None:
                    return watch.own(refusal)
                asked = as_asked(server, params.name, params.arguments or {})
                if (instead := await DESK.instead_of(use.task, asked, on_progress)) is not None:
                    return watch.held(instead)
            wanted = ToolCall(params.name, params.arguments or {}, float(server.timeout_s), on_progress)
            key = SessionKey(use.task.id, server.id, server.updated_at)
            await note_use(server, use.task)
            result = await self._sessions.call(key, lambda: self._open(server), wanted)
        except SlipwayError as error:
            if isinstance(error, UpstreamAway | UpstreamUnauthorised):
                await note_failure(server, error)
            return watch.own(_failed(_words(error, server.name)), error.code)
        checked = _checked(result)
        return watch.theirs(checked) if checked.is_error == result.is_error else watch.own(checked)

    async def find_target(self, task: Task, server: str, tool: str) -> str:
        """Return a hash of what a tool is and where, for a call that was held; empty when it is not served."""
        found = await find_server(task, server)
        return target_of(found, tool) if found is not None else ""

    async def run_held(self, task: Task, server: str, tool: str, claim: Claim) -> CallToolResult:
        """Make a call that a person allowed."""
        found = await find_server(task, server)
        if found is None:
            return _failed("mcp_server_not_found: There is no such MCP server any more.")
        params = CallToolRequestParams(name=tool, arguments=claim.arguments)
        with watched(who_of(task), CallKind.UPSTREAM, server, {}) as watch:
            return await self._run(Use(task, found), params, _unheard, watch, is_allowed=True)

    def _open(self, server: UpstreamServer) -> Any:
        return connect(
            open_upstream(server, run_in_thread),
            self._network,
            timeout_s=float(server.timeout_s),
            on_tools_changed=lambda: self._listings.outdate(server.id),
        )

    def _refuse_unserved(self, server: UpstreamServer, name: str, watch: Watch) -> None:
        states = {tool.name: tool.state for tool in tool_states(server)}
        watch.tool = name if name in states else UNKNOWN
        match states.get(name):
            case "served":
                return
            case "new" | "changed":
                raise ToolWithheld(
                    f"{name} has changed since a person reviewed it. It can be used again once a person has accepted "
                    f"it, in the dashboard under MCP servers, {server.name}."
                )
        watch.code = "unknown_tool"
        served = ", ".join(known for known, state in states.items() if state == "served")
        raise MCPError(INVALID_PARAMS, f"Unknown tool: {name[:100]}. There are: {served[:2_000]}")


class ToolWithheld(SlipwayError):
    """The tool is not the one that was reviewed."""

    code = "tool_withheld"
    status = 403


def _use_of(context: ServerRequestContext[Any]) -> Use:
    if not isinstance(context.request, Request):
        raise TypeError("a server is reached over HTTP only")
    use: Use = context.request.scope[_USE]
    return use


def _throttled(context: ServerRequestContext[Any]) -> OnProgress:
    """Pass progress on, not more often than somebody could read it."""
    next_at = 0.0

    async def report(progress: float, total: float | None, message: str | None) -> None:
        nonlocal next_at
        moment = asyncio.get_running_loop().time()
        if moment >= next_at:
            next_at = moment + _PROGRESS_EVERY_S
            text = message[:_MAX_PROGRESS_CHARS] if message is not None else None
            await context.session.report_progress(progress, total, text)

    return report


async def _unheard(progress: float, total: float | None, message: str | None) -> None:
    """Take progress of a call that nobody listens to any more."""


def _checked(result: CallToolResult) -> CallToolResult:
    """Return what the agent gets of a result: all but the metadata between the server and us."""
    passed = result.model_copy(update={"meta": None})
    size = len(passed.model_dump_json(by_alias=True))
    if size > MAX_RESULT_BYTES:
        return _failed(
            f"result_too_large: The answer has {size} bytes, more than the {MAX_RESULT_BYTES} that are passed on. "
            "Ask for less: a page, a range, fewer fields."
        )
    return passed


def _failed(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


def _words(error: SlipwayError, name: str) -> str:
    """Return an error as a model reads it: what it is, and what can be done about it."""
    text = f"{error.code}: {error.message}"
    if isinstance(error, UpstreamUnauthorised):
        return f"{SERVER_GRANTS.words(text, name)} You cannot mend this."
    if isinstance(error, UpstreamAway):
        return f"{text} Try again in a minute, or go on without it."
    if error.code == "mcp_server_timeout":
        return f"{text} It may have been done all the same: look before you call again."
    return text
