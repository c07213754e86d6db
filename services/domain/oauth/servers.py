"""The MCP servers that serve people's own programs, and what a scope of theirs lets such a program do.

A server that is not in this table takes agents at work and nobody else. `mcp:<server>` is all of a server,
`mcp:<server>:read` only the tools that change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Reach = Literal["read", "write"]

_SCOPE = re.compile(r"mcp:([a-z0-9][a-z0-9_-]*)(:read)?")


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

    @property
    def scope(self) -> str:
        """Return the scope of the whole server."""
        return f"mcp:{self.name}"

    @property
    def reading_scope(self) -> str:
        """Return the scope of the tools that change nothing."""
        return f"mcp:{self.name}:read"

    def grants(self, reach: Reach) -> frozenset[str]:
        """Return what an actor holds who reaches the server so far."""
        return self.reads if reach == "read" else self.reads | self.writes


PEOPLE_SERVERS: Mapping[str, PeopleServer] = {
    server.name: server
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
