"""What is said before the protocol's own transport answers: which hosts and pages are served, and refusals."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Message, Scope, Send

from services.domain.errors import SlipwayError, TokenInvalid
from services.domain.oauth.resources import gateway_host, gateway_url
from services.kit.environment import environment

HOSTS = ("gateway", "gw", "127.0.0.1", "localhost")
"""The names under which the gateway is called, besides its public one. Any other is a page that pretends to be us
(DNS rebinding)."""
METADATA_PATH = "/.well-known/oauth-protected-resource"
_READABLE = "Mcp-Session-Id, WWW-Authenticate, Retry-After"
_SENDABLE = (
    "Authorization, Content-Type, Accept, Last-Event-ID, Mcp-Session-Id, MCP-Protocol-Version, Mcp-Method, Mcp-Name, "
    "X-Slipway-Agent"
)


def is_public_host(headers: Headers) -> bool:
    """Say whether a request came to the gateway's public name."""
    return headers.get("host", "").lower() == gateway_host()


def is_own_host(host: str) -> bool:
    """Say whether a Host header names the gateway."""
    name, _, port = host.partition(":")
    return (name in HOSTS and (not port or port.isdigit())) or host.lower() == gateway_host()


def base_url(scope: Scope) -> str:
    """Return the address under which the caller reaches the gateway."""
    return f"{scope.get('scheme', 'http')}://{Headers(scope=scope)['host']}"


def unauthorized(error: TokenInvalid, metadata_url: str, wanted_scope: str = "") -> Response:
    """Answer a call without a good token, and say where to read what this is. Source: RFC 9728, section 5.1."""
    challenge = f'Bearer error="invalid_token", error_description="{error.message}", resource_metadata="{metadata_url}"'
    if wanted_scope:
        challenge += f', scope="{wanted_scope}"'
    return JSONResponse(
        {"error": {"code": error.code, "message": error.message}}, 401, {"WWW-Authenticate": challenge}
    )


def refusal_of(error: SlipwayError) -> Response:
    """Answer a domain error that came before the protocol's own answer."""
    return JSONResponse({"error": {"code": error.code, "message": error.message}}, error.status)


def turned_away(headers: Headers, method: str, methods: Sequence[str]) -> Response | None:
    """Answer a browser that asks for a page whether it may call, and refuse the pages that may not.

    Source: the Fetch standard, section 3.2; the transport's section on security.
    """
    origin = headers.get("origin")
    own = urlsplit(gateway_url())
    is_welcome = origin in (None, f"{own.scheme}://{own.netloc}", *environment().browser_origins())
    if not is_welcome or (method == "OPTIONS" and origin is None):
        return PlainTextResponse("Forbidden", 403)
    if method != "OPTIONS":
        return None
    allowed = {
        "Access-Control-Allow-Methods": ", ".join(methods),
        "Access-Control-Allow-Headers": _SENDABLE,
        "Access-Control-Max-Age": "600",
    }
    return Response(status_code=204, headers=allowed)


def readers(headers: Headers) -> dict[str, str]:
    """Return the headers that let a page of an allowed origin read what everybody may."""
    origin = headers.get("origin", "")
    return {"Access-Control-Allow-Origin": origin} if origin in environment().browser_origins() else {}


def readable(headers: Headers, send: Send) -> Send:
    """Return a way to send that lets a page of an allowed origin read the answer; for others the one that it got."""
    origin = headers.get("origin", "")
    if origin not in environment().browser_origins():
        return send
    added = [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", _READABLE.encode()),
        (b"vary", b"Origin"),
    ]

    async def send_readable(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return send_readable
