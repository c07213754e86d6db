"""The tools of registered servers, whoever calls them: an agent at work, or a person's own program."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, Self

from mcp.server import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolRequestParams, CallToolResult

from services.adapters.upstreams.client import OnProgress, connect
from services.adapters.upstreams.network import Network
from services.domain.approvals.held import Claim
from services.domain.calls.models import CallKind
from services.domain.errors import SlipwayError, UpstreamAway, UpstreamUnauthorised
from services.domain.oauth.servers import Reach, registered_server
from services.domain.tasks.models import Task
from services.domain.upstreams.credentials import SERVER_GRANTS, open_upstream
from services.domain.upstreams.models import UpstreamServer
from services.domain.upstreams.tools import Listing, ToolState, tool_states
from services.mcp_gateway.callers import AgentCaller, Caller
from services.mcp_gateway.holding.desk import DESK
from services.mcp_gateway.holding.words import failed
from services.mcp_gateway.mcp_servers.door import Visitor
from services.mcp_gateway.threads import run_in_thread
from services.mcp_gateway.upstreams.directory import Listings, find_server, note_failure, note_use
from services.mcp_gateway.upstreams.holding import as_asked, target_of
from services.mcp_gateway.upstreams.sessions import SessionKey, Sessions, ToolCall
from services.mcp_gateway.watch import UNKNOWN, Watch, Who, watched, who_of

MAX_RESULT_BYTES = 4 * 1024**2
_PROGRESS_EVERY_S = 0.05
_MAX_PROGRESS_CHARS = 1_000


@dataclass(frozen=True, slots=True)
class Use:
    """One request: who makes it and on whose account, how far they reach, and the server that it is for."""

    caller: Caller
    who: Who
    server: UpstreamServer
    reach: Reach = "write"

    @classmethod
    def by_task(cls, task: Task, server: UpstreamServer) -> Self:
        """Return what an agent at work asks for."""
        return cls(AgentCaller(task), who_of(task), server)

    @classmethod
    def by_person(cls, visitor: Visitor, server: UpstreamServer) -> Self:
        """Return what a person's own program asks for, whose token reaches the server."""
        meant = registered_server(server.name)
        return cls(visitor.caller(meant), visitor.who, server, visitor.reach[meant.key])

    def reaches(self, tool: ToolState) -> bool:
        """Say whether a tool may be called so far: what a person reviewed of it says whether it only reads."""
        return self.reach == "write" or tool.reads_only


class RegisteredTools:
    """What the servers of this process's callers list, and the calls under way there. `run` must be entered before."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._listings = Listings(network)
        self._sessions = Sessions()
        self._calls: dict[tuple[uuid.UUID, str, str], list[asyncio.Task[CallToolResult]]] = {}

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Keep the conversations with servers for as long as the block runs."""
        async with self._sessions.run():
            yield

    async def listed(self, use: Use) -> list[Listing]:
        """Return the tools that a server serves. Raises: SlipwayError when it has never said so."""
        server = await self._listings.current(use.server, use.caller)
        return [tool.listing for tool in tool_states(server) if tool.state == "served"]

    async def call(
        self, context: ServerRequestContext[Any], use: Use, params: CallToolRequestParams, place: str
    ) -> CallToolResult:
        """Call a tool. `place` is the address that was called, within which requests are counted."""
        scope = context.request.scope if context.request is not None else {}
        with watched(use.who, CallKind.UPSTREAM, use.server.name, scope) as watch:
            call = asyncio.create_task(self._run(use, params, _throttled(context), watch))
            key = (use.who.key, place, str(context.request_id))
            self._calls.setdefault(key, []).append(call)
            try:
                await asyncio.wait({call})
                if call.cancelled():
                    return watch.own(failed("cancelled: The call was cancelled."))
                return call.result()
            finally:
                call.cancel()
                await asyncio.wait({call})
                self._calls[key].remove(call)
                if not self._calls[key]:
                    del self._calls[key]

    def cancel_if_asked(self, who: Who, place: str, body: bytes) -> None:
        """Cancel the call that a `notifications/cancelled` names, if it names one: without sessions no other does.

        Two clients of one task may count their requests alike; then neither is cancelled.
        """
        if b"notifications/cancelled" not in body:
            return
        try:
            named = json.loads(body)["params"]["requestId"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        calls = self._calls.get((who.key, place, str(named)), [])
        if len(calls) == 1:
            calls[0].cancel()

    async def find_target(self, task: Task, server: str, tool: str) -> str:
        """Return a hash of what a tool is and where, for a call that was held; empty when it is not served."""
        found = await find_server(task, server)
        return target_of(found, tool) if found is not None else ""

    async def run_held(self, task: Task, server: str, tool: str, claim: Claim) -> CallToolResult:
        """Make a call that a person allowed."""
        found = await find_server(task, server)
        if found is None:
            return failed("mcp_server_not_found: There is no such MCP server any more.")
        params = CallToolRequestParams(name=tool, arguments=claim.arguments)
        with watched(who_of(task), CallKind.UPSTREAM, server, {}) as watch:
            return await self._run(Use.by_task(task, found), params, _unheard, watch, is_allowed=True)

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
            server = await self._listings.current(server, use.caller)
            use = replace(use, server=server)
            tool = _served(server, params.name, watch)
            if not use.reaches(tool):
                # The status was decided by a first look at the body; what runs is decided here.
                scope = registered_server(server.name).scope
                return watch.own(failed(f"insufficient_scope: This needs the scope {scope}."))
            if not is_allowed:
                if (refusal := await watch.admitted()) is not None:
                    return watch.own(refusal)
                if (instead := await _judged(use, params, on_progress)) is not None:
                    return watch.held(instead) if use.caller.task_id is not None else watch.own(instead)
            wanted = ToolCall(params.name, params.arguments or {}, float(server.timeout_s), on_progress)
            key = SessionKey(use.who.key, server.id, server.updated_at)
            await note_use(server, use.caller)
            result = await self._sessions.call(key, lambda: self._open(server), wanted)
        except SlipwayError as error:
            if isinstance(error, UpstreamAway | UpstreamUnauthorised):
                await note_failure(server, error)
            return watch.own(failed(words_of(error, server.name)), error.code)
        checked = _checked(result)
        return watch.theirs(checked) if checked.is_error == result.is_error else watch.own(checked)

    def _open(self, server: UpstreamServer) -> Any:
        return connect(
            open_upstream(server, run_in_thread),
            self._network,
            timeout_s=float(server.timeout_s),
            on_tools_changed=lambda: self._listings.outdate(server.id),
        )


class ToolWithheld(SlipwayError):
    """The tool is not the one that was reviewed."""

    code = "tool_withheld"
    status = 403


async def _judged(use: Use, params: CallToolRequestParams, on_progress: OnProgress) -> CallToolResult | None:
    """Return what a caller gets instead of a call that the rules hold or forbid; None for any other."""
    asked = as_asked(use.server, params.name, params.arguments or {})
    if use.caller.task_id is None:
        return await DESK.refusal_for(use.caller.actor, asked)
    return await DESK.instead_of(use.caller.task, asked, on_progress)


def _served(server: UpstreamServer, name: str, watch: Watch) -> ToolState:
    """Return a tool that may be called. Raises: ToolWithheld, MCPError when there is none."""
    tools = {tool.name: tool for tool in tool_states(server)}
    found = tools.get(name)
    watch.tool = name if found is not None else UNKNOWN
    match found and found.state:
        case "served" if found is not None:
            return found
        case "new" | "changed":
            raise ToolWithheld(
                f"{name} has changed since a person reviewed it. It can be used again once a person has accepted "
                f"it, in the dashboard under MCP servers, {server.name}."
            )
    watch.code = "unknown_tool"
    served = ", ".join(known for known, tool in tools.items() if tool.state == "served")
    raise MCPError(INVALID_PARAMS, f"Unknown tool: {name[:100]}. There are: {served[:2_000]}")


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
    """Return what the caller gets of a result: all but the metadata between the server and us."""
    passed = result.model_copy(update={"meta": None})
    size = len(passed.model_dump_json(by_alias=True))
    if size > MAX_RESULT_BYTES:
        return failed(
            f"result_too_large: The answer has {size} bytes, more than the {MAX_RESULT_BYTES} that are passed on. "
            "Ask for less: a page, a range, fewer fields."
        )
    return passed


def words_of(error: SlipwayError, name: str) -> str:
    """Return an error as a model reads it: what it is, and what can be done about it."""
    text = f"{error.code}: {error.message}"
    if isinstance(error, UpstreamUnauthorised):
        return f"{SERVER_GRANTS.words(text, name)} You cannot mend this."
    if isinstance(error, UpstreamAway):
        return f"{text} Try again in a minute, or go on without it."
    if error.code == "mcp_server_timeout":
        return f"{text} It may have been done all the same: look before you call again."
    return text
