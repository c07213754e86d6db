"""What a token can be for: one MCP server of the gateway, or all of those that serve people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from services.domain.oauth.servers import PEOPLE_SERVERS, PeopleServer
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


def find_resource(url: str) -> Resource | None:
    """Return the resource of an address. Source: RFC 8707, section 2: compared as it is, a slash at the end aside."""
    wanted = url.removesuffix("/")
    if wanted == resource_url(None):
        return Resource(wanted, "All MCP servers", PEOPLE_SERVERS)
    for server in PEOPLE_SERVERS.values():
        if wanted == resource_url(server.name):
            return Resource(wanted, server.title, {server.name: server})
    return None
