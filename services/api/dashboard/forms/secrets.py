"""Keeping a secret, changing where it may go, and giving it another value."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, time
from typing import Any

from django import forms
from pydantic import SecretStr

from services.api.dashboard.forms.base import DomainForm, lines_of
from services.domain.agents.models import Agent
from services.domain.errors import Invalid
from services.domain.vault.bindings import parse_binding, read_bindings, show_binding
from services.domain.vault.models import Secret, SecretApproval, SecretMode

_MODES = (
    (SecretMode.ENV, "In the environment of the agent"),
    (SecretMode.BROKERED, "Brokered: put into requests on their way out, never in the sandbox"),
)
_APPROVALS = (
    (SecretApproval.NEVER, "Nobody is asked"),
    (SecretApproval.FIRST_USE, "Somebody is asked at the first use at a host in each workspace"),
    (SecretApproval.EACH_USE, "Somebody is asked at each use"),
)


class SealedTextarea(forms.Textarea):
    """A field whose text is not sent back when a form is refused."""

    def format_value(self, value: object) -> None:
        """Show nothing."""


def _value_field(help_text: str, *, field_id: str = "id_value", required: bool = True) -> forms.CharField:
    attrs = {"rows": 3, "class": "code", "autocomplete": "off", "spellcheck": "false", "id": field_id}
    return forms.CharField(
        label="Value", strip=False, required=required, widget=SealedTextarea(attrs), help_text=help_text
    )


class SecretScopeForm(DomainForm):
    """Where a secret may go and who may have it."""

    description = forms.CharField(max_length=300, required=False)
    mode = forms.ChoiceField(label="How it is used", choices=_MODES, initial=SecretMode.ENV, required=False)
    bindings = forms.CharField(
        label="Brokered for",
        required=False,
        widget=forms.Textarea(
            attrs={
                "rows": 3, "class": "code", "spellcheck": "false",
                "placeholder": "api.github.com/repos/acme GET,POST -> header Authorization: Bearer {value}",
            }
        ),
        help_text="One place a line: host/path METHODS -> header Name: template, -> basic user, or -> query name. "
        "With => it is put there also where the agent does not ask for it.",
    )  # fmt: skip
    approval = forms.ChoiceField(
        label="Before it is used", choices=_APPROVALS, initial=SecretApproval.NEVER, required=False
    )
    agents = forms.TypedMultipleChoiceField(
        label="Granted to",
        required=False,
        coerce=uuid.UUID,
        widget=forms.CheckboxSelectMultiple,
        help_text="With none chosen no agent gets it.",
    )
    is_for_all = forms.BooleanField(label="All agents, also future ones", required=False)
    expires_on = forms.DateField(
        label="Expires on",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text="In UTC.",
    )

    def __init__(self, *args: Any, agents: Sequence[Agent], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = self.fields["agents"]
        if isinstance(choices, forms.TypedMultipleChoiceField):
            choices.choices = [(str(agent.id), agent.name) for agent in agents]

    def values(self) -> dict[str, Any]:
        """Return the fields of `SecretFields`. Raises: Invalid for a line that is no binding."""
        values = super().values()
        chosen, day = values.pop("agents"), values.pop("expires_on")
        values["agent_ids"] = None if values.pop("is_for_all") else chosen
        values["mode"] = values["mode"] or SecretMode.ENV
        values["approval"] = values["approval"] or SecretApproval.NEVER
        values["expires_at"] = datetime.combine(day, time.min, UTC) if day else None
        try:
            values["bindings"] = [parse_binding(line) for line in lines_of(values["bindings"])]
        except ValueError as error:
            raise Invalid("This is no place for a secret.", fields={"bindings": str(error)}) from error
        return values


class SecretForm(SecretScopeForm):
    """A new secret. Its value is never shown again."""

    name = forms.CharField(
        max_length=80,
        widget=forms.TextInput(attrs={"class": "code", "placeholder": "GITHUB_TOKEN", "autocomplete": "off"}),
        help_text="The environment variable that it becomes: capital letters, digits and _.",
    )
    value = _value_field("Sealed at once and never shown again.")
    is_personal = forms.BooleanField(label="Only for my own work", required=False)

    field_order = ("name", "value")

    def values(self) -> dict[str, Any]:
        """Return the fields of `NewSecret`."""
        values = super().values()
        values["value"] = SecretStr(values["value"])
        return values


class SecretChangeForm(SecretScopeForm):
    """Another scope for a secret. A new place needs the value again."""

    value = _value_field(
        "Needed when the way or a place is new. Older versions are forgotten then.", required=False
    )

    def values(self) -> dict[str, Any]:
        """Return the changes, and the value where one was given."""
        values = super().values()
        values["value"] = SecretStr(values["value"]) if values["value"] else None
        return values


class SecretValueForm(DomainForm):
    """Another value."""

    value = _value_field(
        "A new version, in use at once; older ones can be gone back to.", field_id="id_new_value"
    )


def initial_of(secret: Secret) -> dict[str, Any]:
    """Return what the form of a secret begins with."""
    return {
        "description": secret.description,
        "mode": secret.mode,
        "bindings": "\n".join(show_binding(binding) for binding in read_bindings(secret.bindings)),
        "approval": secret.approval,
        "agents": [str(agent_id) for agent_id in secret.agent_ids or []],
        "is_for_all": secret.agent_ids is None,
        "expires_on": secret.expires_at.astimezone(UTC).date() if secret.expires_at else None,
    }
