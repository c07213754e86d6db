"""API tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms

from services.api.dashboard.forms.base import DomainForm
from services.domain.actors import SCOPES
from services.domain.oauth.servers import PEOPLE_SERVERS, scopes_of
from services.kit.clock import now

_LIVES = ((7, "7 days"), (30, "30 days"), (90, "90 days"), (365, "1 year"))


class TokenForm(DomainForm):
    """A new API token."""

    name = forms.CharField(max_length=80, help_text="Where it will be used.")
    days = forms.TypedChoiceField(label="Expires after", choices=_LIVES, coerce=int, initial=90)
    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in (*sorted(SCOPES), *scopes_of(PEOPLE_SERVERS.values()))],
        widget=forms.CheckboxSelectMultiple,
        initial=sorted(SCOPES),
        help_text="What it may do. Give it no more than it needs.",
    )

    def values(self) -> dict[str, Any]:
        """Return what `create_token` wants."""
        values = super().values()
        values["expires_at"] = now() + timedelta(days=values.pop("days"))
        return values
