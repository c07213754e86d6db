"""Names that servers of others cannot have: those of the platform's own, now and as announced."""

from __future__ import annotations

from services.domain.agents.models import DEFAULT_MCP_SERVERS
from services.domain.integrations.names import ACCOUNT_SERVERS

_ANNOUNCED = frozenset(
    {"chat", "gmail", "mail", "calendar", "teller", "github", "composio", "slipway", "gateway", "llm"}
)


def is_reserved(name: str) -> bool:
    """Say whether the platform keeps a name for itself."""
    return name in DEFAULT_MCP_SERVERS or name in ACCOUNT_SERVERS or name in _ANNOUNCED
