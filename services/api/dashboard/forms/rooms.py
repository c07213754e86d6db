"""Rooms."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django import forms

from services.api.dashboard.forms.base import DomainForm
from services.domain.agents.models import Agent
from services.domain.rooms.actions import MAX_TEXT


class RoomForm(DomainForm):
    """A room's name."""

    title = forms.CharField(
        label="Name",
        max_length=120,
        widget=forms.TextInput(attrs={"autocomplete": "off", "placeholder": "Release"}),
    )


class RoomAgentForm(DomainForm):
    """Which agent comes in, and what it answers."""

    agent_id = forms.TypedChoiceField(label="Agent", coerce=uuid.UUID)
    answers = forms.ChoiceField(
        label="Answers",
        choices=(("named", "when called by @name"), ("all", "every message")),
    )

    def __init__(self, *args: Any, agents: Sequence[Agent], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["agent_id"]
        if isinstance(field, forms.TypedChoiceField):
            field.choices = [(str(agent.id), agent.name) for agent in agents]


class RoomMessageForm(DomainForm):
    """What a person writes. The key is the same until it was taken, so that a double click counts once."""

    text = forms.CharField(
        max_length=MAX_TEXT,
        widget=forms.Textarea(
            attrs={
                "rows": 2,
                "placeholder": "Write to the room",
                "aria-label": "Message",
                "autocomplete": "off",
            }
        ),
    )
    key = forms.CharField(max_length=100, widget=forms.HiddenInput)

    @property
    def refusal(self) -> str:
        """Return in one sentence why nothing was written."""
        return next((str(text) for texts in self.errors.values() for text in texts), "")

    @property
    def fresh_key(self) -> str:
        """Return the key for what is written next: the same one only while nothing was accepted under it."""
        return str(self["key"].value() or uuid.uuid4().hex)
