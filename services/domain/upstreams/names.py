"""What servers of others may be called; not as the platform's own are, now or as announced."""

from __future__ import annotations

from services.domain.agents.models import DEFAULT_MCP_SERVERS
from services.domain.integrations.names import ACCOUNT_SERVERS

NAME = r"[a-z0-9][a-z0-9_-]{0,39}"
"""What a server may be called, as a regular expression for the whole name."""
_ANNOUNCED = frozenset(
    {"chat", "gmail", "mail", "calendar", "teller", "github", "composio", "slipway", "gateway", "llm"}
)


UPSTREAM_KEY = "upstream/"
"""Begins what a registered server is called in scopes. No server of the platform's own has such a name."""


def scopes_of_upstream(name: str) -> tuple[str, str]:
    """Return the scopes of people's programs at a registered server: of all of it, and of reading."""
    return f"mcp:{UPSTREAM_KEY}{name}", f"mcp:{UPSTREAM_KEY}{name}:read"


def is_reserved(name: str) -> bool:
    """Say whether the platform keeps a name for itself."""
    return name in DEFAULT_MCP_SERVERS or name in ACCOUNT_SERVERS or name in _ANNOUNCED
