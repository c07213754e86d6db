"""Rooms."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django import forms

from services.api.dashboard.forms.base import DomainForm, KeyedForm
from services.domain.agents.models import Agent
from services.domain.rooms.writing import MAX_TEXT


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


class RoomMessageForm(KeyedForm):
    """What a person writes; its files come beside it."""

    thread_id = forms.CharField(max_length=120, required=False, widget=forms.HiddenInput)
    text = forms.CharField(
        max_length=MAX_TEXT,
        required=False,
        widget=forms.Textarea(
            attrs={
                "rows": 2,
                "placeholder": "Write to the room",
                "aria-label": "Message",
                "autocomplete": "off",
            }
        ),
    )
