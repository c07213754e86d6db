"""Tokens and secrets."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django import forms

from services.api.dashboard.forms.base import DomainForm
from services.domain.actors import SCOPES
from services.domain.agents.models import Agent
from services.kit.clock import now

_LIVES = ((7, "7 days"), (30, "30 days"), (90, "90 days"), (365, "1 year"))


class TokenForm(DomainForm):
    """A new API token."""

    name = forms.CharField(max_length=80, help_text="Where it will be used.")
    days = forms.TypedChoiceField(label="Expires after", choices=_LIVES, coerce=int, initial=90)
    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in sorted(SCOPES)],
        widget=forms.CheckboxSelectMultiple,
        initial=sorted(SCOPES),
        help_text="What it may do. Give it no more than it needs.",
    )

    def values(self) -> dict[str, Any]:
        """Return what `create_token` wants."""
        values = super().values()
        values["expires_at"] = now() + timedelta(days=values.pop("days"))
        return values


class SecretForm(DomainForm):
    """A new secret. Its value is never shown again."""

    name = forms.CharField(
        max_length=80,
        widget=forms.TextInput(attrs={"class": "code", "placeholder": "GITHUB_TOKEN", "autocomplete": "off"}),
        help_text="The environment variable that it becomes: capital letters, digits and _.",
    )
    value = forms.CharField(
        strip=False,
        widget=forms.Textarea(
            attrs={"rows": 3, "class": "code", "autocomplete": "off", "spellcheck": "false"}
        ),
        help_text="Sealed at once and never shown again.",
    )
    agents = forms.TypedMultipleChoiceField(
        label="Granted to",
        required=False,
        coerce=uuid.UUID,
        widget=forms.CheckboxSelectMultiple,
        help_text="With none chosen no agent gets it.",
    )
    is_for_all = forms.BooleanField(label="All agents, also future ones", required=False)

    def __init__(self, *args: Any, agents: Sequence[Agent], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = self.fields["agents"]
        if isinstance(choices, forms.TypedMultipleChoiceField):
            choices.choices = [(str(agent.id), agent.name) for agent in agents]

    def values(self) -> dict[str, Any]:
        """Return what `create_secret` wants: None grants it to all agents."""
        values = super().values()
        chosen = values.pop("agents")
        values["agent_ids"] = None if values.pop("is_for_all") else chosen
        return values
