"""Registered MCP servers over REST. A credential goes in and never comes out."""

from __future__ import annotations

import uuid
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from services.api.http.bodies import Closed
from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Changes, Moment, Page, Shape
from services.api.upstreams import add_server, change_server, connect_server, refresh_server
from services.api.v1.accesses import AccessShape
from services.domain.errors import (
    Conflict,
    Invalid,
    NameTaken,
    NotPermitted,
    QueueFull,
    ToolsChangedAgain,
    UpstreamAway,
    UpstreamInSandbox,
    UpstreamMissing,
    UpstreamRefused,
)
from services.domain.upstreams.actions import (
    NewUpstream,
    ToolName,
    UpstreamFields,
    approve_tools,
    delete_upstream,
)
from services.domain.upstreams.models import UpstreamAuth, UpstreamServer, UpstreamStatus, UpstreamTransport
from services.domain.upstreams.queries import get_upstream, list_upstream_accesses, list_upstreams
from services.domain.upstreams.tools import ToolState, tool_states


class ServerChanges(UpstreamFields, Changes):
    """The fields to change. Another address or way to show who we are loses the credential, unless one is sent."""


class ToolsApproval(Closed):
    """What is accepted: all that waits, or the tools named; `tools_digest` says which listing was looked at."""

    tools_digest: str = Field(max_length=64)
    tools: list[ToolName] | None = Field(default=None, max_length=500)


class ToolShape(BaseModel):
    """A tool of a server. `new` and `changed` ones are withheld from agents until somebody accepts them."""

    model_config = ConfigDict(extra="forbid")

    name: str
    state: Literal["served", "hidden", "new", "changed"]
    description: str
    input_schema: dict[str, Any]
    reviewed_description: str | None

    @classmethod
    def of(cls, tool: ToolState) -> Self:
        """Show a tool as it stands."""
        schema = tool.listing.get("inputSchema")
        return cls(
            name=tool.name,
            state=tool.state,
            description=str(tool.listing.get("description", "")),
            input_schema=schema if isinstance(schema, dict) else {},
            reviewed_description=str(tool.before.get("description", "")) if tool.before else None,
        )


class ServerShape(Shape):
    """A registered MCP server, without what opens it. With an owner, only that person's work uses it.

    One with the transport `stdio` runs in the agent's sandbox and stays `unchecked`: its tools are not known here.
    """

    id: uuid.UUID
    name: str
    owner_id: uuid.UUID | None
    transport: UpstreamTransport
    url: str
    command: str
    args: list[str]
    env: dict[str, str]
    env_secrets: dict[str, str]
    auth: UpstreamAuth
    header_name: str
    client_id: str
    allowed_tools: list[str] | None
    timeout_s: int
    status: UpstreamStatus
    last_error: str
    tools: list[ToolShape]
    tools_digest: str
    listed_at: Moment | None
    checked_at: Moment | None
    last_used_at: Moment | None
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, server: UpstreamServer) -> Self:
        """Show a row."""
        same = {name: getattr(server, name) for name in cls.model_fields if name != "tools"}
        return cls(**same, tools=[ToolShape.of(tool) for tool in tool_states(server)])


class ConnectShape(Shape):
    """The page at which the person who asked for it gives the authorization, within ten minutes."""

    authorization_url: str


class Servers(Endpoint):
    """All registered MCP servers."""

    tag = "mcp servers"

    @operation()
    def get(self, call: Call, query: PageQuery) -> Page[ServerShape]:
        """List the registered MCP servers, newest first."""
        return page_of(list_upstreams(call.actor), query, ServerShape.of)

    @operation(is_waiting=True, status=201, errors=(NameTaken, Invalid, QueueFull, NotPermitted))
    def post(self, call: Call, body: NewUpstream) -> ServerShape:
        """Register an MCP server and list its tools; one with the transport `stdio` runs in sandboxes only.

        The calls of such a server do not pass the gateway: approval rules and rate limits do not see them, and what is
        on record of them is what the sandbox says. The sandbox is the boundary.
        """
        return ServerShape.of(add_server(call.actor, body))


class OneServer(Endpoint):
    """One registered MCP server."""

    tag = "mcp servers"

    @operation(errors=(UpstreamMissing,))
    def get(self, call: Call, server_id: uuid.UUID) -> ServerShape:
        """Show a server and its tools."""
        return ServerShape.of(get_upstream(call.actor, server_id))

    @operation(is_waiting=True, errors=(UpstreamMissing, Invalid))
    def patch(self, call: Call, server_id: uuid.UUID, body: ServerChanges) -> ServerShape:
        """Change a server's fields."""
        return ServerShape.of(change_server(call.actor, server_id, body.model_dump(exclude_unset=True)))

    @operation(errors=(UpstreamMissing,))
    def delete(self, call: Call, server_id: uuid.UUID) -> None:
        """Remove a server, also from the agents that list it."""
        delete_upstream(call.actor, server_id)


class ServerRefresh(Endpoint):
    """Asking one server anew."""

    tag = "mcp servers"

    @operation(is_waiting=True, errors=(UpstreamMissing, UpstreamInSandbox))
    def post(self, call: Call, server_id: uuid.UUID) -> ServerShape:
        """List a server's tools now; `status` and `last_error` say what came of it."""
        return ServerShape.of(refresh_server(call.actor, server_id))


class ServerApprove(Endpoint):
    """Accepting one server's tools."""

    tag = "mcp servers"

    @operation(errors=(UpstreamMissing, UpstreamInSandbox, ToolsChangedAgain, Invalid))
    def post(self, call: Call, server_id: uuid.UUID, body: ToolsApproval) -> ServerShape:
        """Accept new and changed tools as they are."""
        return ServerShape.of(approve_tools(call.actor, server_id, body.tools_digest, body.tools))


class ServerConnect(Endpoint):
    """Connecting one server by OAuth."""

    tag = "mcp servers"

    @operation(
        is_waiting=True,
        errors=(UpstreamMissing, UpstreamInSandbox, Conflict, NotPermitted, UpstreamRefused, UpstreamAway),
    )
    def post(self, call: Call, server_id: uuid.UUID) -> ConnectShape:
        """Begin an authorization; its person has to be signed in to the dashboard when coming back from there."""
        return ConnectShape(authorization_url=connect_server(call.actor, server_id))


class ServerAccesses(Endpoint):
    """The uses of one server's credential."""

    tag = "mcp servers"

    @operation(errors=(UpstreamMissing,))
    def get(self, call: Call, server_id: uuid.UUID, query: PageQuery) -> Page[AccessShape]:
        """List for whom and when the server's credential was used. A server in the sandbox has secrets instead."""
        return page_of(list_upstream_accesses(call.actor, server_id), query, AccessShape.of)
