"""The left navigation: what there is, and where one is."""

from __future__ import annotations

from dataclasses import dataclass

from django.urls import reverse


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the navigation."""

    label: str
    icon: str
    url: str
    is_current: bool


_MAIN = (
    ("Workspaces", "workspaces", "dashboard:home", ("/workspaces",)),
    ("Agents", "agent", "dashboard:agents", ("/agents",)),
    ("Playbooks", "playbook", "dashboard:playbooks", ("/playbooks",)),
    ("Links & chats", "chat", "dashboard:links", ("/links", "/chats", "/wirings")),
    ("Deliveries", "delivery", "dashboard:deliveries", ("/deliveries",)),
    ("Secrets", "secret", "dashboard:secrets", ("/secrets",)),
)
_SETTINGS = (
    ("API tokens", "token", "dashboard:tokens", ("/settings/tokens",)),
    ("Members", "members", "dashboard:members", ("/settings/members",)),
)


def navigation_for(path: str) -> dict[str, list[Entry]]:
    """Return the navigation, in its two groups, with the entry of this path marked."""
    return {"main": _entries(_MAIN, path), "settings": _entries(_SETTINGS, path)}


def _entries(rows: tuple[tuple[str, str, str, tuple[str, ...]], ...], path: str) -> list[Entry]:
    entries = []
    for label, icon, name, prefixes in rows:
        url = reverse(name)
        entries.append(Entry(label, icon, url, path == url or path.startswith(prefixes)))
    return entries
