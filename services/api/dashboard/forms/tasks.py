"""Asking an agent for something, in a new workspace or in one that is there."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django import forms

from services.api.dashboard.forms.base import DomainForm
from services.domain.agents.models import Agent


class PromptForm(DomainForm):
    """The next prompt. `key` makes a form that is sent twice count once."""

    prompt = forms.CharField(
        strip=False,
        required=False,
        widget=forms.Textarea(
            attrs={
                "rows": 1,
                "placeholder": "Write the next prompt…",
                "aria-label": "Prompt",
                "data-composer": True,
            }
        ),
    )
    key = forms.CharField(max_length=100, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("key", uuid.uuid4().hex)

    @property
    def refusal(self) -> str:
        """Return in one sentence why nothing was submitted."""
        return next((str(text) for texts in self.errors.values() for text in texts), "")

    @property
    def fresh_key(self) -> str:
        """Return the key for what is sent next: the same one only while nothing was accepted under it."""
        return str(self["key"].value() or uuid.uuid4().hex)


class NewTaskForm(PromptForm):
    """A prompt for an agent; it makes a workspace."""

    agent_id = forms.TypedChoiceField(label="Agent", coerce=uuid.UUID)

    def __init__(self, *args: Any, agents: Sequence[Agent], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["agent_id"]
        if isinstance(field, forms.TypedChoiceField):
            field.choices = [(str(agent.id), agent.name) for agent in agents]
        self.fields["prompt"].widget.attrs.update(rows=3, placeholder="What should be done?")
