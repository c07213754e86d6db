"""The door of an MCP server for people's own programs: who may come in, how far, and what is said to who may not.

It is open on the gateway's own port under its public name, never on a sandbox's socket.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from services.domain.actors import Actor
from services.domain.agents.queries import list_agents
from services.domain.errors import AgentMissing, SlipwayError, TokenInvalid
from services.domain.identity.queries import all_tenants_authenticate
from services.domain.oauth.queries import all_tenants_authenticate_app
from services.domain.oauth.resources import gateway_url, issuer
from services.domain.oauth.servers import (
    EVERYTHING,
    EVERYTHING_TO_READ,
    PeopleServer,
    Reach,
    reach_of,
    scopes_of,
)
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.names import UPSTREAM_KEY
from services.kit.tokens import ACCESS_TOKEN_PREFIX, API_TOKEN_PREFIX
from services.mcp_gateway.call_log import CALL_LOG
from services.mcp_gateway.callers import PersonCaller
from services.mcp_gateway.mcp_servers.answers import (
    METADATA_PATH,
    is_public_host,
    refusal_of,
    turned_away,
    unauthorized,
)
from services.mcp_gateway.threads import run_in_thread
from services.mcp_gateway.watch import Who

AGENT_HEADER = "x-slipway-agent"
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
            scopes=server.grants(self.reach[server.key]),
            token_id=self.person.token_id,
        )
        return PersonCaller(actor, self.namespace)

    @property
    def who(self) -> Who:
        """Return on whose account calls go: each token of a person has limits of its own."""
        person = self.person
        return Who(
            person.org_id, person.token_id or person.org_id, None, self.namespace, person.user_id, None
        )

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
        """Say whether a request is for people's programs, whatever its token is worth."""
        if "sandbox_id" in scope.get("state", {}) or not is_public_host(Headers(scope=scope)):
            return False
        return scope["method"] == "OPTIONS" or token.startswith((ACCESS_TOKEN_PREFIX, API_TOKEN_PREFIX))

    async def let_in(
        self, scope: Scope, receive: Receive, send: Send, token: str, methods: Sequence[str] = ("POST",)
    ) -> Visitor | None:
        """Return who is there; None for whoever got an answer already."""
        headers = Headers(scope=scope)
        refusal = turned_away(headers, scope["method"], methods)
        if refusal is None:
            try:
                visitor = await run_in_thread(self._find, token, headers.get(AGENT_HEADER, ""))
            except TokenInvalid as error:
                refusal = self.unauthorized(error)
            except SlipwayError as error:
                refusal = refusal_of(error)
            else:
                if scope["method"] in methods:
                    return visitor
                refusal = PlainTextResponse("Method Not Allowed", 405, {"Allow": ", ".join(methods)})
        await refusal(scope, receive, send)
        return None

    def opens(self, key: str) -> bool:
        """Say whether a server is behind the door."""
        return key in self.servers

    def _find(self, token: str, named: str) -> Visitor:
        """Return whose token it is. Raises: TokenInvalid, for all reasons alike, AgentMissing."""
        found = _of_app(token, f"{gateway_url()}{self.path}") or _of_api_token(token)
        reach = {key: far for key, far in found.reach.items() if self.opens(key)}
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
            "scopes_supported": self.scopes,
            "bearer_methods_supported": ["header"],
            "resource_name": self._title,
        }

    @property
    def metadata_url(self) -> str:
        """Return where that is read."""
        return f"{gateway_url()}{METADATA_PATH}{self.path}"

    @property
    def scopes(self) -> list[str]:
        """Return the scopes that a program may ask for."""
        return scopes_of(self.servers.values())

    @property
    def whole_scope(self) -> str:
        """Return the scope of everything behind the door."""
        return " ".join(server.scope for server in self.servers.values())

    def unauthorized(self, error: TokenInvalid) -> Response:
        """Refuse a token, in the same words whatever is wrong with it."""
        CALL_LOG.turned_away["token"] += 1
        return unauthorized(error, self.metadata_url, self.whole_scope)

    def beyond(self, needed: PeopleServer) -> Response:
        """Refuse what the token does not reach, and say which scope would. Source: RFC 6750, section 3.1."""
        text = f"This needs the scope {needed.scope}."
        challenge = (
            f'Bearer error="insufficient_scope", scope="{needed.scope}", error_description="{text}", '
            f'resource_metadata="{self.metadata_url}"'
        )
        body = {"error": {"code": "insufficient_scope", "message": text}}
        return JSONResponse(body, 403, {"WWW-Authenticate": challenge})


class DoorToAll(Door):
    """Admits people's programs to all that serves people, the servers that somebody registered included.

    Whose those are is known only with the token, so that one word stands for all of them.
    """

    def opens(self, key: str) -> bool:
        """Say whether a server may be behind the door."""
        return super().opens(key) or key.startswith(UPSTREAM_KEY)

    @property
    def scopes(self) -> list[str]:
        """Return the scopes that a program may ask for, but those that not everybody has."""
        return [EVERYTHING, EVERYTHING_TO_READ, *super().scopes]

    @property
    def whole_scope(self) -> str:
        """Return the scope of everything behind the door."""
        return EVERYTHING


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
