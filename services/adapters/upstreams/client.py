"""One conversation with an MCP server of others, in whichever revision it speaks."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import httpx2
from mcp import Client
from mcp.client.session import IncomingMessage
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.dispatcher import ProgressFnT
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    HEADER_MISMATCH,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    InputRequiredResult,
    PaginatedRequestParams,
    ToolListChangedNotification,
)
from pydantic import TypeAdapter, ValidationError

from services.adapters.upstreams.network import Network
from services.adapters.upstreams.oauth import AuthorizationLost, refresh
from services.domain.errors import (
    SlipwayError,
    UpstreamAway,
    UpstreamRefused,
    UpstreamSlow,
    UpstreamUnauthorised,
)
from services.domain.ports.upstreams import RefreshClaim, TokenStore, Upstream

HANDSHAKE_S = 20.0
LISTING_S = 30.0
MAX_EVENT_BYTES = 7 * 1024**2
MAX_PAGES = 20
# How long one process waits for another's refresh, and how often it looks.
_REFRESH_S = 45.0
_LOOK_EVERY_S = 0.1

_SESSION = "mcp-session-id"

OnProgress = ProgressFnT
_RESULT: TypeAdapter[CallToolResult | InputRequiredResult] = TypeAdapter(CallToolResult | InputRequiredResult)
# Refreshes go on when the call that wanted them is cancelled: a token that was made and not kept is lost.
_refreshes: set[asyncio.Task[str]] = set()


class SessionGone(UpstreamAway):
    """The server knows our session no more: it has restarted, perhaps. What was asked last was not done."""


class Remote:
    """A server with whom the protocol is settled."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def list_tools(self) -> list[dict[str, Any]]:
        """Return the tools, all pages of them, as they are on the wire. Raises: SlipwayError."""
        tools: list[dict[str, Any]] = []
        cursor: str | None = None
        try:
            async with asyncio.timeout(LISTING_S):
                for _ in range(MAX_PAGES):
                    page = await self._client.session.list_tools(params=PaginatedRequestParams(cursor=cursor))
                    tools += [
                        tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in page.tools
                    ]
                    cursor = page.next_cursor
                    if not cursor:
                        return tools
        except Exception as error:
            raise cause_of(error) from error
        raise UpstreamRefused(f"The server lists its tools on more than {MAX_PAGES} pages.")

    async def call_tool(
        self, name: str, arguments: dict[str, Any], timeout_s: float, on_progress: OnProgress
    ) -> CallToolResult:
        """Call a tool. When the caller is cancelled, or waits no longer, the server is told. Raises: SlipwayError."""
        try:
            async with asyncio.timeout(timeout_s):
                try:
                    return await self._call(name, arguments, on_progress)
                except MCPError as error:
                    if error.code != HEADER_MISMATCH:
                        raise
                    # It wants arguments in headers, which its listing names.
                    await self.list_tools()
                    return await self._call(name, arguments, on_progress)
        except TimeoutError as error:
            raise UpstreamSlow(f"The server did not answer within {timeout_s:g} s.") from error
        except Exception as error:
            raise cause_of(error) from error

    async def _call(self, name: str, arguments: dict[str, Any], on_progress: OnProgress) -> CallToolResult:
        # Not the session's own method: that lists the tools again to check what it got, which is the caller's matter.
        result = await self._client.session.send_request(
            CallToolRequest(params=CallToolRequestParams(name=name, arguments=arguments)),
            _RESULT,
            progress_callback=on_progress,
        )
        if isinstance(result, InputRequiredResult):
            raise UpstreamRefused(
                "The server asks something of a person in mid-call, which is not possible here."
            )
        return result


@contextlib.asynccontextmanager
async def connect(
    upstream: Upstream,
    network: Network,
    *,
    timeout_s: float,
    on_tools_changed: Callable[[], None] = lambda: None,
) -> AsyncIterator[Remote]:
    """Talk to a server; the longest silence is `timeout_s`. Raises: SlipwayError for whatever goes wrong with it."""

    async def notice(message: IncomingMessage) -> None:
        if isinstance(message, ToolListChangedNotification):
            on_tools_changed()

    try:
        async with contextlib.AsyncExitStack() as stack:
            async with asyncio.timeout(HANDSHAKE_S):
                credential = _Credential(upstream, network)
                http = await stack.enter_async_context(network.client(read_s=timeout_s + 5, auth=credential))
                transport = streamable_http_client(
                    upstream.url, http_client=http, max_sse_event_size=MAX_EVENT_BYTES
                )
                client = Client(
                    transport,
                    message_handler=notice,
                    client_info=Implementation(name="slipway-gateway", version="1"),
                    cache=None,
                )
                await stack.enter_async_context(client)
            yield Remote(client)
    except SlipwayError:
        raise
    except Exception as error:
        raise cause_of(error) from error


async def list_tools_once(upstream: Upstream, network: Network, *, timeout_s: float) -> list[dict[str, Any]]:
    """Connect, list the tools, and leave. Raises: SlipwayError."""
    async with connect(upstream, network, timeout_s=timeout_s) as remote:
        return await remote.list_tools()


def cause_of(error: BaseException) -> SlipwayError:
    """Return what went wrong, in words for a model or a person, out of whatever the library made of it."""
    found = _flat(error)
    for cause in found:
        if isinstance(cause, SlipwayError):
            return cause
    for cause in found:
        if isinstance(cause, TimeoutError):
            return UpstreamAway("The server does not answer in time.")
        if isinstance(cause, MCPError) and cause.code == CONNECTION_CLOSED:
            return UpstreamAway("The connection to the server broke off.")
        if isinstance(cause, MCPError):
            return UpstreamRefused(f"The server says: {cause.error.message[:1_000]}")
        if isinstance(cause, ValidationError | RuntimeError | ValueError):
            return UpstreamRefused("The server's answer is not as the protocol says.")
    return UpstreamAway("The connection to the server broke off.")


def _flat(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [cause for inner in error.exceptions for cause in _flat(inner)]
    return [error]


class _Credential(httpx2.Auth):
    """Puts the server's own credential on each request. Nothing that an agent sent is among its headers."""

    def __init__(self, upstream: Upstream, network: Network) -> None:
        self._upstream, self._network = upstream, network

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Send a request; once more with a fresh token when the first is not taken. Raises: UpstreamUnauthorised."""
        tokens, token = self._upstream.tokens, None
        if self._upstream.header is not None:
            name, value = self._upstream.header
            request.headers[name] = value
        elif tokens is not None:
            token = await access_token(tokens, self._network, refused=None)
            request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == 401 and tokens is not None:
            token = await access_token(tokens, self._network, refused=token)
            request.headers["Authorization"] = f"Bearer {token}"
            response = yield request
        if response.status_code == 404 and request.method == "POST" and _SESSION in request.headers:
            raise SessionGone("The server has forgotten the conversation.")
        is_narrow = "insufficient_scope" in response.headers.get("www-authenticate", "")
        if response.status_code == 401 or (response.status_code == 403 and is_narrow):
            raise UpstreamUnauthorised("The server does not take the credential that is kept for it.")


async def access_token(store: TokenStore, network: Network, *, refused: str | None) -> str:
    """Return a good access token, refreshed by one caller for all. Raises: UpstreamUnauthorised, UpstreamAway."""
    deadline = asyncio.get_running_loop().time() + _REFRESH_S
    while asyncio.get_running_loop().time() < deadline:
        claimed = await store.claim(refused)
        if isinstance(claimed, str):
            return claimed
        if claimed is not None:
            task = asyncio.create_task(_refresh(store, claimed, network))
            _refreshes.add(task)
            task.add_done_callback(_forget)
            return await asyncio.shield(task)
        await asyncio.sleep(_LOOK_EVERY_S)
    raise UpstreamAway("The access token is being refreshed, and that takes too long.")


def _forget(task: asyncio.Task[str]) -> None:
    _refreshes.discard(task)
    if not task.cancelled():
        # Looked at, so that a refresh that nobody waits for any more does not complain.
        task.exception()


async def _refresh(store: TokenStore, claimed: RefreshClaim, network: Network) -> str:
    lease: uuid.UUID = claimed.lease
    try:
        granted = await refresh(claimed.grant, network)
    except AuthorizationLost:
        await store.lose(lease)
        raise
    except BaseException:
        await store.give_back(lease)
        raise
    await store.keep(lease, granted)
    return granted.access_token
