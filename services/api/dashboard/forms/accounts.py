"""Connecting an account: fields made from its kind's own models."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Sequence
from typing import Any, get_args, get_origin

from django import forms
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from services.adapters.accounts.kind import AccountKind
from services.api.dashboard.forms.base import DomainForm, lines_of
from services.domain.agents.models import Agent
from services.domain.errors import SlipwayError
from services.domain.integrations.models import Integration

_MAX_CHARS = 20_000


class ScopeForm(DomainForm):
    """An account's name, and who may use it."""

    name = forms.CharField(max_length=80, help_text="What agents and people call the account.")
    agents = forms.TypedMultipleChoiceField(
        label="Granted to",
        required=False,
        coerce=uuid.UUID,
        widget=forms.CheckboxSelectMultiple,
        help_text="With none chosen no agent may use it.",
    )
    is_for_all = forms.BooleanField(label="All agents, also future ones", required=False)

    def __init__(self, *args: Any, agents: Sequence[Agent], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = self.fields["agents"]
        if isinstance(choices, forms.TypedMultipleChoiceField):
            choices.choices = [(str(agent.id), agent.name) for agent in agents]

    @classmethod
    def initial_of(cls, row: Integration) -> dict[str, Any]:
        """Return the form's values for an account."""
        return {
            "name": row.name,
            "is_for_all": row.agent_ids is None,
            "agents": [str(agent_id) for agent_id in row.agent_ids or ()],
        }

    def values(self) -> dict[str, Any]:
        """Return name and grants: None grants it to all agents."""
        values = super().values()
        chosen = values.pop("agents")
        values["agent_ids"] = None if values.pop("is_for_all") else chosen
        return values


class AccountForm(ScopeForm):
    """A new account: what its kind asks for, and who may use it."""

    is_shared = forms.BooleanField(
        label="For the whole organisation's work", required=False, help_text="Else for my own work only."
    )

    def __init__(self, *args: Any, kind: type[AccountKind], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._asked: dict[str, tuple[str, str, FieldInfo]] = {}
        for group, model in (("settings", kind.settings_model), ("credentials", kind.credentials_model)):
            for name, info in model.model_fields.items():
                extra = info.json_schema_extra
                if isinstance(extra, dict) and extra.get("is_hidden"):
                    continue
                self._asked[f"{group}_{name}"] = (group, name, info)
                self.fields[f"{group}_{name}"] = _field_for(name, info)

    def values(self) -> dict[str, Any]:
        """Return the fields of an account, its settings and credentials each in a dictionary of their own."""
        values = super().values()
        groups: dict[str, dict[str, Any]] = {"settings": {}, "credentials": {}}
        for key, (group, name, info) in self._asked.items():
            value = values.pop(key)
            if _inner(info) is list:
                value = lines_of(value)
            if value not in ("", None, []):
                groups[group][name] = value
        values["is_personal"] = not values.pop("is_shared")
        return values | groups

    def _note_error(self, error: SlipwayError) -> None:
        fields = error.details.get("fields") or {}
        renamed = {name.replace(".", "_", 1).partition(".")[0]: reason for name, reason in fields.items()}
        error.details["fields"] = renamed
        super()._note_error(error)


def _inner(info: FieldInfo) -> Any:
    """Return the type of a field, without `None` and without what a list holds."""
    annotation = info.annotation
    if get_origin(annotation) is list:
        return list
    others = [each for each in get_args(annotation) if each is not type(None)]
    return others[0] if others and type(None) in get_args(annotation) else annotation


def _field_for(name: str, info: FieldInfo) -> forms.Field:
    """Return an input for one field of a model; secrets are not shown while they are typed."""
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    common: dict[str, Any] = {
        "label": info.title or name.replace("_", " ").capitalize(),
        "required": info.is_required(),
        "help_text": info.description or "",
    }
    attrs = {"autocomplete": "off", "class": "code", "spellcheck": "false"}
    kind = _inner(info)
    if kind is bool:
        return forms.BooleanField(**common | {"required": False}, initial=bool(info.default))
    if kind is int:
        return forms.IntegerField(**common, initial=None if info.is_required() else info.default)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return forms.ChoiceField(**common, choices=[(each.value, each.value) for each in kind])
    if kind is list or extra.get("is_long"):
        return forms.CharField(
            **common, max_length=_MAX_CHARS, widget=forms.Textarea(attrs=attrs | {"rows": 5})
        )
    widget = forms.PasswordInput(attrs=attrs) if kind is SecretStr else forms.TextInput(attrs=attrs)
    initial = "" if info.is_required() or kind is SecretStr else info.default
    return forms.CharField(**common, max_length=2_000, widget=widget, initial=initial)
