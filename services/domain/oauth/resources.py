"""What a token can be for: one MCP server of the gateway, or all of those that serve a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from services.domain.actors import Actor
from services.domain.integrations.queries import list_persons_accounts
from services.domain.oauth.servers import PEOPLE_SERVERS, PeopleServer, registered_server
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.credentials import host_of
from services.domain.upstreams.models import UpstreamServer
from services.domain.upstreams.queries import list_persons_upstreams
from services.domain.upstreams.tools import tool_states
from services.kit.environment import environment

ALL_PATH = "/mcp"


@dataclass(frozen=True, slots=True)
class Resource:
    """A protected resource: its address, which is its name, and the servers behind it."""

    url: str
    title: str
    servers: Mapping[str, PeopleServer]


def issuer() -> str:
    """Return the name of the authorization server. Source: RFC 8414, section 2."""
    return environment().public_url.rstrip("/")


def gateway_url() -> str:
    """Return the address under which people's programs reach the gateway."""
    env = environment()
    return (env.gateway_public_url or f"http://127.0.0.1:{env.gateway_port}").rstrip("/")


def gateway_host() -> str:
    """Return the Host header that people's programs send to the gateway."""
    return urlsplit(gateway_url()).netloc.lower()


def resource_url(server: str | None) -> str:
    """Return the address of a server, or of all together."""
    return f"{gateway_url()}{ALL_PATH}" + (f"/{server}" if server else "")


def find_resource(actor: Actor, url: str) -> Resource | None:
    """Return the resource of an address, if it is one of this person's.

    At the one address stand accounts only where the person has one that programs may use.
    Source: RFC 8707, section 2: compared as it is, a slash at the end aside.
    """
    wanted = url.removesuffix("/")
    servers = list_servers(actor)
    if wanted == resource_url(None):
        offered = {server.key: server for server, is_of_use in servers if is_of_use}
        return Resource(wanted, "All MCP servers", offered)
    for server, _ in servers:
        if wanted == resource_url(server.name):
            return Resource(wanted, server.title, {server.key: server})
    return None


def list_servers(actor: Actor) -> list[tuple[PeopleServer, bool]]:
    """Return the servers that a person's programs can reach, and whether there is anything behind each of them."""
    with tenant_transaction(actor.org_id):
        accounts = list_persons_accounts(actor)
        registered = list_persons_upstreams(actor)
    servers = []
    for server in PEOPLE_SERVERS.values():
        names = [name for kind, name in accounts if kind == server.name]
        said = replace(server, summary=f"{server.summary} {_connected(names)}") if names else server
        servers.append((said, server.group != "accounts" or bool(names)))
    return [*servers, *((registered_server(row.name, _said_of(row)), True) for row in registered)]


def _connected(names: list[str]) -> str:
    return f"Connected: {', '.join(names)}."


def _said_of(row: UpstreamServer) -> str:
    served = [tool for tool in tool_states(row) if tool.state == "served"]
    reading = sum(tool.reads_only for tool in served)
    whose = "Your own" if row.owner_id is not None else "Your organisation's"
    tools = f"{len(served)} tools, {reading} of them only read." if served else "No tool is reviewed yet."
    return f"{whose}, at {host_of(row)}. {tools}"
