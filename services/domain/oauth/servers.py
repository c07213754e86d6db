"""The MCP servers that serve people's own programs, and what a scope of theirs lets such a program do.

A server of the platform that is not in this table takes agents at work and nobody else. Registered ones serve people
too, under keys that no own server can have. `mcp:<key>` is all of a server, `mcp:<key>:read` only the tools that
change nothing. A program may ask for EVERYTHING, and gets what the person makes of it, server by server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from services.domain.upstreams.names import UPSTREAM_KEY

Reach = Literal["read", "write"]
Group = Literal["platform", "accounts", "registered"]

EVERYTHING, EVERYTHING_TO_READ = "mcp:*", "mcp:*:read"
_SCOPE = re.compile(r"mcp:((?:upstream/)?[a-z0-9][a-z0-9_-]*)(:read)?")


@dataclass(frozen=True, slots=True)
class PeopleServer:
    """A server for people's programs. `reads` and `writes` are the scopes of the domain that its tools need.

    With `in_namespace` its tools work in the namespace of one agent, which the person chooses.
    """

    name: str
    title: str
    summary: str
    reads: frozenset[str]
    writes: frozenset[str]
    in_namespace: bool = False
    group: Group = "platform"

    @property
    def key(self) -> str:
        """Return what the server is called in scopes, and among all servers."""
        return f"{UPSTREAM_KEY}{self.name}" if self.group == "registered" else self.name

    @property
    def scope(self) -> str:
        """Return the scope of the whole server."""
        return f"mcp:{self.key}"

    @property
    def reading_scope(self) -> str:
        """Return the scope of the tools that change nothing."""
        return f"mcp:{self.key}:read"

    def grants(self, reach: Reach) -> frozenset[str]:
        """Return what an actor holds who reaches the server so far."""
        return self.reads if reach == "read" else self.reads | self.writes


def _of_accounts(name: str, title: str, summary: str) -> PeopleServer:
    return PeopleServer(name, title, summary, frozenset({"integrations:read"}), frozenset(), group="accounts")


def registered_server(name: str, summary: str = "") -> PeopleServer:
    """Return a server that an organisation or a person registered, whether there is one of this name or not."""
    return PeopleServer(name, name, summary, frozenset({"mcp_servers:read"}), frozenset(), group="registered")


PEOPLE_SERVERS: Mapping[str, PeopleServer] = {
    server.key: server
    for server in (
        PeopleServer(
            "memory",
            "Memory",
            "The notes that one of your agents keeps for you.",
            frozenset({"memory:read", "agents:read"}),
            frozenset({"memory:write"}),
            in_namespace=True,
        ),
        PeopleServer(
            "platform",
            "Platform",
            "Your agents, their tasks, workspaces and playbooks.",
            frozenset({"tasks:read", "workspaces:read", "agents:read", "playbooks:read"}),
            frozenset({"tasks:write", "workspaces:write", "playbooks:write"}),
        ),
        _of_accounts("gmail", "Gmail", "Mails at Google."),
        _of_accounts("mail", "Mail", "Mails of any provider."),
        _of_accounts("calendar", "Calendar", "Events and appointments."),
        _of_accounts("github", "GitHub", "Repositories, issues and pull requests."),
        _of_accounts("teller", "Teller", "Bank accounts, to read."),
        _of_accounts("composio", "Composio", "What is connected at Composio."),
    )
}


def reach_of(scopes: Iterable[str]) -> dict[str, Reach]:
    """Return how far scopes reach into each server; scopes of anything else say nothing."""
    found: dict[str, Reach] = {}
    for scope in scopes:
        match = _SCOPE.fullmatch(scope)
        if match is not None and found.get(match[1]) != "write":
            found[match[1]] = "read" if match[2] else "write"
    return found


def scopes_of(servers: Iterable[PeopleServer]) -> list[str]:
    """Return all the scopes there are of some servers."""
    return [scope for server in servers for scope in (server.scope, server.reading_scope)]


def narrowed(asked: Mapping[str, Reach], chosen: Mapping[str, Reach]) -> list[str]:
    """Return as scopes what a person chose of what was asked; never more than either."""
    scopes = []
    for name, reach in sorted(chosen.items()):
        if name in asked:
            is_full = reach == "write" and asked[name] == "write"
            scopes.append(f"mcp:{name}" if is_full else f"mcp:{name}:read")
    return scopes


def reach_asked(words: Iterable[str], servers: Mapping[str, PeopleServer]) -> dict[str, Reach]:
    """Return how far words of a program reach into some servers; no words reach all the way into all of them."""
    words = set(words) or {EVERYTHING}
    reach: dict[str, Reach] = {}
    if EVERYTHING_TO_READ in words:
        reach.update(dict.fromkeys(servers, "read"))
    reach.update((key, far) for key, far in reach_of(words).items() if key in servers)
    if EVERYTHING in words:
        reach.update(dict.fromkeys(servers, "write"))
    return reach
