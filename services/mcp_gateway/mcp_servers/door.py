"""The door of an MCP server for people's own programs: who may come in, how far, and what is said to who may not.

It is open on the gateway's own port under its public name, never on a sandbox's socket.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Message, Scope, Send

from services.domain.actors import Actor
from services.domain.agents.queries import list_agents
from services.domain.errors import AgentMissing, SlipwayError, TokenInvalid
from services.domain.identity.queries import all_tenants_authenticate
from services.domain.oauth.queries import all_tenants_authenticate_app
from services.domain.oauth.resources import gateway_host, gateway_url, issuer
from services.domain.oauth.servers import PeopleServer, Reach, reach_of, scopes_of
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.environment import environment
from services.kit.tokens import ACCESS_TOKEN_PREFIX, API_TOKEN_PREFIX
from services.mcp_gateway.callers import PersonCaller
from services.mcp_gateway.threads import run_in_thread

AGENT_HEADER = "x-slipway-agent"
_READABLE = "Mcp-Session-Id, WWW-Authenticate, Retry-After"
_SENDABLE = (
    "Authorization, Content-Type, Accept, Last-Event-ID, Mcp-Session-Id, MCP-Protocol-Version, Mcp-Method, Mcp-Name, "
    "X-Slipway-Agent"
)
NO_GOOD = "The token is unknown, expired or for something else."


@dataclass(frozen=True, slots=True)
class Visitor:
    """A person's own program, as its token shows it: the person's place, and how far it may reach by server."""

    person: Actor
    reach: Mapping[str, Reach]
    client_id: str
    namespace: uuid.UUID | None
    expires_at: datetime | None

    def caller(self, server: PeopleServer) -> PersonCaller:
        """Return the caller that the tools of a server see: what the server needs, as far as it was allowed."""
        actor = Actor(
            org_id=self.person.org_id,
            kind="token",
            role=self.person.role,
            user_id=self.person.user_id,
            scopes=server.grants(self.reach[server.name]),
            token_id=self.person.token_id,
        )
        return PersonCaller(actor, self.namespace)

    def user(self) -> AuthenticatedUser:
        """Return whom the protocol's sessions belong to: nobody else's token continues one."""
        return AuthenticatedUser(
            AccessToken(
                token="",
                client_id=f"{self.client_id}/{self.person.token_id}",
                scopes=[],
                subject=f"{self.person.org_id}/{self.person.user_id}",
                claims={"iss": issuer()},
            )
        )


class Door:
    """Admits people's programs to the servers behind one path."""

    def __init__(self, path: str, title: str, servers: Mapping[str, PeopleServer]) -> None:
        self.path, self.servers = path, servers
        self._title = title

    def is_meant(self, scope: Scope, token: str) -> bool:
        """Say whether a request is that of a person's program, whatever its token is worth."""
        if "sandbox_id" in scope.get("state", {}) or not is_public_host(Headers(scope=scope)):
            return False
        return token.startswith((ACCESS_TOKEN_PREFIX, API_TOKEN_PREFIX))

    async def admit(self, scope: Scope, token: str) -> Visitor:
        """Return who is there. Raises: TokenInvalid, for all reasons alike, AgentMissing."""
        named = Headers(scope=scope).get(AGENT_HEADER, "")
        return await run_in_thread(self._find, token, named)

    def _find(self, token: str, named: str) -> Visitor:
        found = _of_app(token, f"{gateway_url()}{self.path}") or _of_api_token(token)
        reach = {name: far for name, far in found.reach.items() if name in self.servers}
        if not reach:
            raise TokenInvalid(NO_GOOD)
        namespace = found.namespace
        if named and token.startswith(API_TOKEN_PREFIX):
            namespace = _find_agent(found.person, named)
        return Visitor(found.person, reach, found.client_id, namespace, found.expires_at)

    def metadata(self) -> dict[str, object]:
        """Return what a program must know to get a token for what is behind the door. Source: RFC 9728, section 2."""
        return {
            "resource": f"{gateway_url()}{self.path}",
            "authorization_servers": [issuer()],
            "scopes_supported": scopes_of(self.servers.values()),
            "bearer_methods_supported": ["header"],
            "resource_name": self._title,
        }

    @property
    def whole_scope(self) -> str:
        """Return the scope of everything behind the door."""
        return " ".join(server.scope for server in self.servers.values())

    def beyond(self, needed: PeopleServer, metadata_url: str) -> Response:
        """Refuse what the token does not reach, and say which scope would. Source: RFC 6750, section 3.1."""
        text = f"This needs the scope {needed.scope}."
        challenge = (
            f'Bearer error="insufficient_scope", scope="{needed.scope}", error_description="{text}", '
            f'resource_metadata="{metadata_url}"'
        )
        body = {"error": {"code": "insufficient_scope", "message": text}}
        return JSONResponse(body, 403, {"WWW-Authenticate": challenge})


def is_public_host(headers: Headers) -> bool:
    """Say whether a request came to the gateway's public name."""
    return headers.get("host", "").lower() == gateway_host()


def called_tool(body: bytes) -> str | None:
    """Return the tool that a request calls, if it calls one."""
    if b"tools/call" not in body:
        return None
    try:
        message = json.loads(body)
        name = message["params"]["name"] if message["method"] == "tools/call" else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return name if isinstance(name, str) else None


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


def _of_app(token: str, resource: str) -> Visitor | None:
    if not token.startswith(ACCESS_TOKEN_PREFIX):
        return None
    found = all_tenants_authenticate_app(token, resource)
    person = Actor(
        org_id=found.org_id, kind="token", role=found.role, user_id=found.user_id, token_id=found.app_id
    )
    return Visitor(person, reach_of(found.scopes), found.client_id, found.agent_id, found.expires_at)


def _of_api_token(token: str) -> Visitor:
    try:
        person = all_tenants_authenticate(token)
    except TokenInvalid as error:
        raise TokenInvalid(NO_GOOD) from error
    return Visitor(person, reach_of(person.scopes or ()), "api-token", None, None)


def _find_agent(person: Actor, named: str) -> uuid.UUID:
    """Return the agent of an id or a slug. Raises: AgentMissing."""
    asking = Actor(
        org_id=person.org_id,
        kind="token",
        role=person.role,
        user_id=person.user_id,
        scopes=frozenset({"agents:read"}),
        token_id=person.token_id,
    )
    missing = AgentMissing("X-Slipway-Agent names no agent of your organisation.")
    try:
        by = {"id": uuid.UUID(named)}
    except ValueError:
        if not named.isascii() or "\x00" in named:
            raise missing from None
        by = {"slug": named}  # type: ignore[dict-item]  # one or the other
    with tenant_transaction(person.org_id):
        agent = list_agents(asking).filter(**by).first()
    if agent is None:
        raise missing
    return agent.id


def refusal_of(error: SlipwayError) -> Response:
    """Answer a domain error that came before the protocol's own answer."""
    return JSONResponse({"error": {"code": error.code, "message": error.message}}, error.status)
