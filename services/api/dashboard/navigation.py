"""The left navigation: what there is, and where one is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.urls import reverse


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the navigation."""

    label: str
    icon: str
    url: str
    is_current: bool
    count: int = 0
    """How many things wait there for somebody."""


_MAIN = (
    ("Workspaces", "workspaces", "dashboard:home", ("/workspaces",)),
    ("Agents", "agent", "dashboard:agents", ("/agents",)),
    ("Playbooks", "playbook", "dashboard:playbooks", ("/playbooks",)),
    ("Rooms", "room", "dashboard:rooms", ("/rooms",)),
    ("Links & chats", "chat", "dashboard:links", ("/links", "/chats", "/wirings")),
    ("Destinations", "arrow", "dashboard:destinations", ("/destinations",)),
    ("Approvals", "approval", "dashboard:approvals", ("/approvals",)),
    ("Deliveries", "delivery", "dashboard:deliveries", ("/deliveries",)),
    ("Usage", "usage", "dashboard:usage", ("/usage",)),
    ("MCP servers", "mcp", "dashboard:mcp-servers", ("/mcp-servers",)),
    ("Accounts", "token", "dashboard:accounts", ("/accounts",)),
    ("Secrets", "secret", "dashboard:secrets", ("/secrets",)),
)
_SETTINGS = (
    ("Notifications", "bell", "dashboard:notifications", ("/settings/notifications",)),
    ("Sign-in & security", "secret", "dashboard:security", ("/settings/security",)),
    ("Models", "agent", "dashboard:models", ("/settings/models",)),
    ("API tokens", "token", "dashboard:tokens", ("/settings/tokens",)),
    ("Webhooks", "arrow", "dashboard:webhooks", ("/settings/webhook",)),
    ("Connected apps", "mcp", "dashboard:connected-apps", ("/settings/connected-apps",)),
    ("Members", "members", "dashboard:members", ("/settings/members",)),
    ("Organisation", "workspaces", "dashboard:organisation", ("/settings/organisation",)),
    ("Audit log", "delivery", "dashboard:audit", ("/settings/audit",)),
)


def navigation_for(path: str, waiting: Mapping[str, int]) -> dict[str, list[Entry]]:
    """Return the navigation, in its two groups, with the entry of this path marked. `waiting`: counts by view."""
    return {"main": _entries(_MAIN, path, waiting), "settings": _entries(_SETTINGS, path, waiting)}


def _entries(
    rows: tuple[tuple[str, str, str, tuple[str, ...]], ...], path: str, waiting: Mapping[str, int]
) -> list[Entry]:
    entries = []
    for label, icon, name, prefixes in rows:
        url = reverse(name)
        is_current = path == url or path.startswith(prefixes)
        entries.append(Entry(label, icon, url, is_current, waiting.get(name, 0)))
    return entries
