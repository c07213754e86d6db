"""Connecting an account: fields made from its kind's own models."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

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


class _KindFields:
    """The part of a form that a kind's own models make: a field for each of theirs, behind its group's name."""

    def __init__(self, form: forms.Form, kind: type[AccountKind]) -> None:
        self._asked: dict[str, tuple[str, str, FieldInfo]] = {}
        for group, model in (("settings", kind.settings_model), ("credentials", kind.credentials_model)):
            for name, info in model.model_fields.items():
                extra = info.json_schema_extra
                if not (isinstance(extra, dict) and extra.get("is_hidden")):
                    self._asked[f"{group}_{name}"] = (group, name, info)
                    form.fields[f"{group}_{name}"] = _field_for(name, info)

    def take(self, values: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Take a kind's values out of a form's, by group; what was left empty is not among them."""
        groups: dict[str, dict[str, Any]] = {"settings": {}, "credentials": {}}
        for key, (group, name, info) in self._asked.items():
            value = values.pop(key)
            if _inner(info) is list:
                value = lines_of(value)
            if value not in ("", None, []):
                groups[group][name] = value
        return groups

    def keys_of(self, wanted: str) -> list[tuple[str, str, FieldInfo]]:
        """List a group's fields: the form's name, the model's, and what the model says of it."""
        return [(key, name, info) for key, (group, name, info) in self._asked.items() if group == wanted]


class AccountForm(ScopeForm):
    """A new account: what its kind asks for, and who may use it."""

    is_shared = forms.BooleanField(
        label="For the whole organisation's work", required=False, help_text="Else for my own work only."
    )

    def __init__(self, *args: Any, kind: type[AccountKind], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kind_fields = _KindFields(self, kind)

    def values(self) -> dict[str, Any]:
        """Return the fields of an account, its settings and credentials each in a dictionary of their own."""
        values = super().values()
        groups = self._kind_fields.take(values)
        values["is_personal"] = not values.pop("is_shared")
        return values | groups

    def _note_error(self, error: SlipwayError) -> None:
        _rename_fields(error)
        super()._note_error(error)


class SettingsForm(DomainForm):
    """An account's settings, and other credentials for it; left empty, those that are kept stay."""

    def __init__(self, *args: Any, kind: type[AccountKind], row: Integration, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kind_fields = _KindFields(self, kind)
        for key, name, _ in self._kind_fields.keys_of("settings"):
            value = row.settings.get(name)
            self.initial[key] = "\n".join(value) if isinstance(value, list) else value
        for key, _, info in self._kind_fields.keys_of("credentials"):
            self.fields[key].required = False
            self.fields[key].help_text = f"{info.description or ''} Empty keeps what is there.".strip()

    def values(self) -> dict[str, Any]:
        """Return the changes: all settings that are shown, and the credentials if any were given."""
        groups = self._kind_fields.take(super().values())
        emptied = {
            name: info.get_default(call_default_factory=True)
            for _, name, info in self._kind_fields.keys_of("settings")
            if not info.is_required()
        }
        changes: dict[str, Any] = {"settings": emptied | groups["settings"]}
        return changes | {"credentials": groups["credentials"]} if groups["credentials"] else changes

    def _note_error(self, error: SlipwayError) -> None:
        _rename_fields(error)
        super()._note_error(error)


def _rename_fields(error: SlipwayError) -> None:
    """Name an error's fields as the form does: `settings.host` is `settings_host`."""
    fields = error.details.get("fields") or {}
    error.details["fields"] = {
        name.replace(".", "_", 1).partition(".")[0]: reason for name, reason in fields.items()
    }


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
    if get_origin(kind) is Literal:
        choices = [(each, each) for each in get_args(kind)]
        return forms.ChoiceField(
            **common, choices=choices, initial=None if info.is_required() else info.default
        )
    if kind is list or extra.get("is_long"):
        return forms.CharField(
            **common, max_length=_MAX_CHARS, widget=forms.Textarea(attrs=attrs | {"rows": 5})
        )
    widget = forms.PasswordInput(attrs=attrs) if kind is SecretStr else forms.TextInput(attrs=attrs)
    initial = "" if info.is_required() or kind is SecretStr else info.default
    return forms.CharField(**common, max_length=2_000, widget=widget, initial=initial)
