"""Asking an agent for something, in a new workspace or in one that is there."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django import forms

from services.api.dashboard.forms.base import KeyedForm
from services.domain.agents.models import Agent


class PromptForm(KeyedForm):
    """The next prompt."""

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


class NewTaskForm(PromptForm):
    """A prompt for an agent; it makes a workspace."""

    agent_id = forms.TypedChoiceField(label="Agent", coerce=uuid.UUID)

    def __init__(self, *args: Any, agents: Sequence[Agent], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["agent_id"]
        if isinstance(field, forms.TypedChoiceField):
            field.choices = [(str(agent.id), agent.name) for agent in agents]
        self.fields["prompt"].widget.attrs.update(rows=3, placeholder="What should be done?")
