"""What a person allows a program."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django import forms

from services.api.dashboard.forms.base import DomainForm
from services.domain.agents.models import Agent
from services.domain.oauth.consent import Choice, Wish
from services.domain.oauth.servers import PeopleServer, Reach

_NOTHING, _READ, _WRITE = ("none", "Nothing"), ("read", "Read only"), ("write", "Read and change")
_GROUPS = {
    "platform": "The platform itself",
    "accounts": "Connected accounts",
    "registered": "Other MCP servers",
}


class ConsentForm(DomainForm):
    """How far into each server, and whose notes; never more than the program asked for."""

    def __init__(self, *args: Any, wish: Wish, agents: Sequence[Agent], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._wish = wish
        servers = [wish.resource.servers[name] for name in wish.reach]
        for server in servers:
            self._add(self._name(server.key), self._reach_field(server))
        if any(server.in_namespace for server in servers):
            choices = [(str(agent.id), agent.name) for agent in agents]
            if len(choices) != 1:
                choices = [("", "Choose an agent"), *choices]
            self._add(
                "agent",
                forms.TypedChoiceField(
                    label="Whose notes",
                    required=False,
                    choices=choices,
                    coerce=uuid.UUID,
                    empty_value=None,
                    help_text="The program sees the notes that this agent keeps for you, and no others.",
                ),
            )

    def groups(self) -> list[tuple[str, list[forms.BoundField]]]:
        """Return the fields as the page shows them, under headings where there are many servers."""
        found: dict[str, list[forms.BoundField]] = {}
        for key in self._wish.reach:
            found.setdefault(self._wish.resource.servers[key].group, []).append(self[self._name(key)])
        groups = [(title, found[group]) for group, title in _GROUPS.items() if group in found]
        if "agent" in self.fields:
            # Notes are of the platform, which comes first.
            groups[0][1].append(self["agent"])
        return groups if len(groups) > 1 else [("", fields) for _, fields in groups]

    def choice(self) -> Choice:
        """Return what was chosen."""
        given = self.cleaned_data
        reach: dict[str, Reach] = {}
        for name in self._wish.reach:
            chosen = given.get(self._name(name))
            if chosen in ("read", "write"):
                reach[name] = "write" if chosen == "write" else "read"
        return Choice(reach, given.get("agent"))

    def _reach_field(self, server: PeopleServer) -> forms.ChoiceField:
        choices = [_READ, _WRITE] if self._wish.reach[server.key] == "write" else [_READ]
        is_alone = len(self._wish.reach) == 1
        if not is_alone:
            choices = [_NOTHING, *choices]
        return forms.ChoiceField(
            label=server.title,
            choices=choices,
            # At the one address an account, or what another party serves, is given only by a person's own choice.
            initial=choices[-1 if is_alone or server.group == "platform" else 0][0],
            help_text=server.summary,
        )

    def _add(self, name: str, field: forms.Field) -> None:
        field.widget.attrs.setdefault("id", f"id_{name}")
        self.fields[name] = field

    @staticmethod
    def _name(server: str) -> str:
        return f"reach-{server}"
