"""What a person allows a program that has shown them a code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms

from services.api.dashboard.forms.base import DomainForm

READ, CHOSEN, ALL = "read", "chosen", "all"


class CodeForm(DomainForm):
    """The code that a program shows."""

    code = forms.CharField(
        max_length=20,
        widget=forms.TextInput(
            attrs={
                "autocomplete": "off",
                "autocapitalize": "characters",
                "spellcheck": "false",
                "class": "mono",
            }
        ),
        help_text="As BCDF-GHJK.",
    )


class DeviceForm(DomainForm):
    """How far a program may go; never further than it asked for."""

    code = forms.CharField(max_length=20, widget=forms.HiddenInput)
    reach = forms.ChoiceField(label="It may")
    scopes = forms.MultipleChoiceField(
        label="The chosen scopes", widget=forms.CheckboxSelectMultiple, required=False
    )

    def __init__(self, *args: Any, asked: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._asked = tuple(asked)
        readable = [scope for scope in asked if scope.endswith(":read")]
        choices = [(ALL, f"all that it asks for ({len(asked)} scopes)"), (CHOSEN, "what is chosen below")]
        if readable and len(readable) < len(asked):
            choices.insert(1, (READ, f"read only ({len(readable)} scopes)"))
        offered: Any = self.fields
        offered["reach"].choices = choices
        offered["scopes"].choices = [(scope, scope) for scope in asked]
        offered["scopes"].initial = list(asked)

    def chosen(self) -> list[str]:
        """Return the scopes."""
        match self.cleaned_data["reach"]:
            case "all":
                return list(self._asked)
            case "read":
                return [scope for scope in self._asked if scope.endswith(":read")]
        return list(self.cleaned_data["scopes"])
