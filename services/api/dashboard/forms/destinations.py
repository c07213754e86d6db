"""Whom agents may send to."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django import forms

from services.api.dashboard.forms.base import DomainForm
from services.domain.agents.models import Agent
from services.domain.chats.models import Chat
from services.domain.contacts.models import Destination
from services.domain.identity.models import Membership


class DestinationForm(DomainForm):
    """A name, and the chat, the person or the agent that it stands for."""

    name = forms.CharField(
        max_length=60,
        widget=forms.TextInput(attrs={"class": "code", "placeholder": "ops-team", "autocomplete": "off"}),
        help_text="What agents call it: small letters, digits, dots, dashes and underscores.",
    )
    place = forms.ChoiceField(
        label="Stands for",
        help_text="A person is reached in the direct chat that they linked last, an agent in a workspace of its own.",
    )
    thread_id = forms.CharField(
        label="Thread",
        required=False,
        max_length=120,
        widget=forms.TextInput(attrs={"class": "code", "autocomplete": "off"}),
        help_text="The platform's own id of a thread in the chat. Mostly empty.",
    )
    description = forms.CharField(
        required=False, max_length=200, help_text="Agents read it: what is this place for?"
    )
    agent_ids = forms.TypedMultipleChoiceField(
        label="Agents that may send there",
        required=False,
        coerce=uuid.UUID,
        widget=forms.CheckboxSelectMultiple,
        help_text="With none chosen all may.",
    )
    is_shared = forms.BooleanField(label="For everybody's work, not only for mine", required=False)

    def __init__(
        self,
        *args: Any,
        chats: Sequence[Chat],
        members: Sequence[Membership],
        agents: Sequence[Agent],
        may_share: bool,
        is_fixed: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        place, choices = self.fields["place"], self.fields["agent_ids"]
        if isinstance(place, forms.ChoiceField) and isinstance(choices, forms.TypedMultipleChoiceField):
            place.choices = [("", "Choose a chat, a person or an agent"), *_places(chats, members, agents)]
            choices.choices = [(str(agent.id), agent.name) for agent in agents]
        if not may_share:
            del self.fields["is_shared"]
        for field in self.fields.values():
            field.disabled = is_fixed

    def values(self) -> dict[str, Any]:
        """Return the fields of `DestinationFields`."""
        values = super().values()
        kind, _, place_id = values.pop("place").partition(":")
        return {
            **values,
            "chat_id": uuid.UUID(place_id) if kind == "chat" else None,
            "person_id": uuid.UUID(place_id) if kind == "person" else None,
            "agent_id": uuid.UUID(place_id) if kind == "agent" else None,
        }

    @staticmethod
    def initial_of(row: Destination) -> dict[str, Any]:
        """Return the form's values for a destination."""
        return {
            "name": row.name,
            "place": _place_of(row),
            "thread_id": row.thread_id,
            "description": row.description,
            "agent_ids": [str(agent_id) for agent_id in row.agent_ids],
        }


def _place_of(row: Destination) -> str:
    if row.agent_id is not None:
        return f"agent:{row.agent_id}"
    return f"chat:{row.chat_id}" if row.chat_id else f"person:{row.person_id}"


def _places(
    chats: Sequence[Chat], members: Sequence[Membership], agents: Sequence[Agent]
) -> list[tuple[str, list[tuple[str, str]]]]:
    rooms = [
        (f"chat:{chat.id}", f"{chat.title or chat.platform_chat_id} ({chat.link.name})") for chat in chats
    ]
    people = [(f"person:{member.user_id}", member.user.shown_name) for member in members]
    others = [(f"agent:{agent.id}", agent.name) for agent in agents]
    groups = (("Chats", rooms), ("People", people), ("Agents", others))
    return [
        (label, sorted(entries, key=lambda entry: entry[1].lower())) for label, entries in groups if entries
    ]
