"""Calls of other parties' tools as the rules judge them and people see them."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

from services.domain.upstreams.models import UpstreamServer
from services.domain.upstreams.tools import ToolState, tool_states
from services.mcp_gateway.holding.desk import Asked, Prepared
from services.mcp_gateway.holding.masking import masked


def as_asked(server: UpstreamServer, tool: str, arguments: dict[str, Any]) -> Asked:
    """Return a call of a served tool for the desk. One that calls itself destructive is risky: it knows best."""
    state = _find(server, tool)
    annotations = state.listing.get("annotations") if state else None
    is_risky = isinstance(annotations, dict) and annotations.get("destructiveHint") is True
    return Asked(server.name, tool, arguments, is_risky, functools.partial(_prepare, server, tool, arguments))


def target_of(server: UpstreamServer, tool: str) -> str:
    """Return a hash of where a tool is and what a person reviewed of it; empty when it is not served."""
    state = _find(server, tool)
    if state is None or state.state != "served":
        return ""
    reviewed = (server.reviewed or {})[tool]["hash"]
    return hashlib.sha256(f"{server.id} {server.url} {reviewed}".encode()).hexdigest()


def _prepare(server: UpstreamServer, tool: str, arguments: dict[str, Any]) -> Prepared:
    state = _find(server, tool)
    schema = state.listing.get("inputSchema") if state else None
    shown = masked(arguments, schema if isinstance(schema, dict) else {})
    return Prepared(arguments, shown, target_of(server, tool))


def _find(server: UpstreamServer, tool: str) -> ToolState | None:
    return next((state for state in tool_states(server) if state.name == tool), None)
