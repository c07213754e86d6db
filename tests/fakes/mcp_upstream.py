"""An MCP server of somebody else, made with the `mcp` library, and the authorization server that guards it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from mcp.server import Server, ServerRequestContext
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tests.fakes.serving import Journal, LocalServer

NUMBERS = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
NOTHING = {"type": "object", "properties": {}}


def make_tools() -> dict[str, Tool]:
    """Return what the server offers: `wait` reports progress and then waits to be released or cancelled."""
    listed = [
        Tool(
            name="add",
            description="Add two numbers.",
            input_schema=NUMBERS,
            output_schema={"type": "object", "properties": {"sum": {"type": "integer"}}},
        ),
        Tool(name="wait", description="Wait until released.", input_schema=NOTHING),
        Tool(name="huge", description="Answer at length.", input_schema=NOTHING),
        Tool(name="break_down", description="Fail.", input_schema=NOTHING),
    ]
    return {tool.name: tool for tool in listed}


class McpUpstream:
    """The server. `calls` is what it was asked; `header` is what it wants to see, if anything."""

    def __init__(self, *, speaks: str = "both", is_stateless: bool = False) -> None:
        self.tools = make_tools()
        self.calls = Journal()
        self.header: tuple[str, str] | None = None
        self.oauth: AuthorizationServer | None = None
        self._speaks, self._is_stateless = speaks, is_stateless
        self._manager: StreamableHTTPSessionManager | None = None
        self._release = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.server = LocalServer(
            Starlette(
                routes=[
                    Route("/mcp", _Asgi(self)),
                    Route(
                        "/elsewhere", lambda request: RedirectResponse("/mcp", 302), methods=["GET", "POST"]
                    ),
                    Route("/.well-known/oauth-protected-resource/mcp", self._describe),
                    Route("/.well-known/oauth-authorization-server", self._metadata),
                    Route("/register", self._register, methods=["POST"]),
                    Route("/authorize", self._authorize),
                    Route("/token", self._token, methods=["POST"]),
                ],
                lifespan=self._lifespan,
            ),
            lifespan="on",
        )

    @property
    def url(self) -> str:
        """Where the server is."""
        return f"{self.server.url}/mcp"

    def release(self) -> None:
        """Let `wait` end."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._release.set)

    def forget_sessions(self) -> None:
        """Forget all conversations, as a restart does."""
        assert self._manager is not None
        self._manager._server_instances.clear()

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        server: Server[Any] = Server("fake", on_list_tools=self._list, on_call_tool=self._call)
        self._manager = StreamableHTTPSessionManager(
            server,
            stateless=self._is_stateless,
            security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )
        async with self._manager.run():
            yield

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, if it shows what it must."""
        request = Request(scope, receive)
        version = request.headers.get("mcp-protocol-version")
        self.calls.add({"http": request.method, "version": version, "headers": dict(request.headers)})
        refusal = self._refusal(request)
        if (
            refusal is None
            and self._speaks == "handshake"
            and version not in (None, *HANDSHAKE_PROTOCOL_VERSIONS)
        ):
            refusal = Response("Bad Request", 400)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        assert self._manager is not None
        await self._manager.handle_request(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        if self.header is not None and request.headers.get(self.header[0]) != self.header[1]:
            return JSONResponse({"error": "unauthorized"}, 401)
        if self.oauth is not None and not self.oauth.takes(request.headers.get("authorization", "")):
            place = f"{self.server.url}/.well-known/oauth-protected-resource/mcp"
            challenge = f'Bearer resource_metadata="{place}", scope="tools"'
            return JSONResponse({"error": "unauthorized"}, 401, {"WWW-Authenticate": challenge})
        return None

    async def _list(
        self, context: ServerRequestContext[Any], params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        self.calls.add({"tool": "tools/list"})
        return ListToolsResult(tools=list(self.tools.values()))

    async def _call(
        self, context: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        self.calls.add({"tool": params.name, "arguments": params.arguments, "meta": context.meta})
        if params.name == "add":
            given = params.arguments or {}
            total = given["a"] + given["b"]
            return CallToolResult(
                content=[TextContent(type="text", text=str(total))],
                structured_content={"sum": total},
                _meta={"secret-of-the-server": "x"},
            )
        if params.name == "huge":
            return CallToolResult(content=[TextContent(type="text", text="x" * 5_000_000)])
        if params.name == "wait":
            await context.session.report_progress(1, 2, "half way")
            try:
                await self._release.wait()
            except asyncio.CancelledError:
                self.calls.add({"tool": "cancelled"})
                raise
            return CallToolResult(content=[TextContent(type="text", text="waited")])
        raise ValueError("broken down")

    async def _describe(self, request: Request) -> Response:
        if self.oauth is None:
            return Response("Not Found", 404)
        return JSONResponse({"resource": self.url, "authorization_servers": [self.server.url]})

    async def _metadata(self, request: Request) -> Response:
        assert self.oauth is not None
        return JSONResponse(self.oauth.metadata(self.server.url))

    async def _register(self, request: Request) -> Response:
        assert self.oauth is not None
        return self.oauth.register(await request.json())

    async def _authorize(self, request: Request) -> Response:
        assert self.oauth is not None
        return self.oauth.authorize(dict(request.query_params))

    async def _token(self, request: Request) -> Response:
        assert self.oauth is not None
        body = (await request.body()).decode()
        return self.oauth.token({name: values[0] for name, values in parse_qs(body).items()})

    def __enter__(self) -> McpUpstream:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self.release()
        self.server.stop()


class _Asgi:
    """A route to an ASGI app of its own, for every method."""

    def __init__(self, upstream: McpUpstream) -> None:
        self._upstream = upstream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._upstream.serve(scope, receive, send)


class AuthorizationServer:
    """Grants codes and tokens as OAuth 2.1 says; refresh tokens are good once, and a second use ends the grant."""

    def __init__(self, *, has_pkce: bool = True, registers: bool = True) -> None:
        self.has_pkce, self.registers = has_pkce, registers
        self.journal = Journal()
        self._clients: dict[str, list[str]] = {}
        self._codes: dict[str, dict[str, str]] = {}
        self._access: set[str] = set()
        self._refresh: set[str] = set()
        self.is_down = False

    def takes(self, authorization: str) -> bool:
        """Say whether an Authorization header has a good access token."""
        return authorization.removeprefix("Bearer ") in self._access

    def add_client(self, client_id: str, redirect_uri: str) -> None:
        """Register a client by hand."""
        self._clients[client_id] = [redirect_uri]

    def expire_access_tokens(self) -> None:
        """Take all access tokens for bad from now on."""
        self._access.clear()

    def revoke(self) -> None:
        """Take back what was granted."""
        self._access.clear()
        self._refresh.clear()

    def metadata(self, base: str) -> dict[str, Any]:
        """Return RFC 8414's document."""
        found: dict[str, Any] = {
            "issuer": base,
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_post"],
            "authorization_response_iss_parameter_supported": True,
        }
        if self.has_pkce:
            found["code_challenge_methods_supported"] = ["S256"]
        if self.registers:
            found["registration_endpoint"] = f"{base}/register"
        return found

    def register(self, asked: dict[str, Any]) -> Response:
        """Register a client by itself (RFC 7591)."""
        client_id = secrets.token_hex(8)
        self._clients[client_id] = asked["redirect_uris"]
        self.journal.add({"step": "register", **asked})
        return JSONResponse({**asked, "client_id": client_id}, 201)

    def authorize(self, query: dict[str, str]) -> Response:
        """Ask a person, who says yes."""
        self.journal.add({"step": "authorize", **query})
        if query["redirect_uri"] not in self._clients.get(query["client_id"], []):
            return JSONResponse({"error": "invalid_client"}, 400)
        code = secrets.token_hex(8)
        self._codes[code] = query
        issuer = query["resource"].removesuffix("/mcp")
        answer = {"code": code, "state": query["state"], "iss": issuer}
        return RedirectResponse(f"{query['redirect_uri']}?{urlencode(answer)}")

    def token(self, form: dict[str, str]) -> Response:
        """Give tokens for a code or a refresh token."""
        self.journal.add({"step": "token", **form})
        if self.is_down:
            return Response("busy", 503)
        if form["grant_type"] == "refresh_token":
            if form["refresh_token"] not in self._refresh:
                self.revoke()
                return JSONResponse({"error": "invalid_grant"}, 400)
            self._refresh.discard(form["refresh_token"])
            return self._grant()
        asked = self._codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        same = ("client_id", "redirect_uri", "resource")
        if (
            asked is None
            or challenge != asked["code_challenge"]
            or any(asked[n] != form.get(n) for n in same)
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        return self._grant()

    def _grant(self) -> Response:
        access, refresh = f"at-{secrets.token_hex(8)}", f"rt-{secrets.token_hex(8)}"
        self._access.add(access)
        self._refresh.add(refresh)
        return JSONResponse(
            {"access_token": access, "refresh_token": refresh, "token_type": "bearer", "expires_in": 3600}
        )


def give_consent(authorization_url: str) -> dict[str, str]:
    """Go to the authorization page as a person would; returns what the browser is sent back with."""
    answer = httpx.get(authorization_url)
    assert answer.status_code == 307, answer.text
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    return {name: values[0] for name, values in query.items()}
