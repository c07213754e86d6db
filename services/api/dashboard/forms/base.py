"""The base of all forms: input goes to an action, and what the action refuses stands beside the field."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any
from zoneinfo import available_timezones

from django import forms
from pydantic import ValidationError

from services.domain.errors import Missing, SlipwayError


class DomainForm(forms.Form):
    """A form over one action. `status` is what the page answers with: 200, or 400 after a refusal."""

    status = 200

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.widget.attrs.setdefault("id", f"id_{name}")
            if isinstance(field.widget, forms.Textarea):
                field.widget.attrs.pop("cols", None)

    def values(self) -> dict[str, Any]:
        """Return what the action gets."""
        return dict(self.cleaned_data)

    def submit(self, action: Callable[[dict[str, Any]], object]) -> bool:
        """Run the action on valid input; say whether it went through. Raises: Missing, for the page to show."""
        if not self.is_valid():
            self.status = 400
            return False
        try:
            action(self.values())
        except ValidationError as error:
            for problem in error.errors(include_url=False, include_input=False):
                self._note(
                    str(problem["loc"][0]) if problem["loc"] else None,
                    str(problem["msg"]).removeprefix("Value error, "),
                )
        except Missing:
            raise
        except SlipwayError as error:
            self._note_error(error)
        self.status = 400 if self.errors else 200
        return not self.errors

    def _note_error(self, error: SlipwayError) -> None:
        fields = error.details.get("fields") or {}
        named = {name.removeprefix("config."): text for name, text in fields.items()}
        known = {name: text for name, text in named.items() if name in self.fields}
        for name, text in known.items():
            # One word, such as "empty" or "taken", says nothing that the message does not.
            self._note(name, f"{error.message.rstrip('.')}: {text}." if " " in text else error.message)
        if not known:
            self._note(None, error.message)

    def _note(self, name: str | None, text: str) -> None:
        self.add_error(name if name in self.fields else None, text)


def time_zones() -> list[str]:
    """List the names of time zones, for an input's suggestions."""
    return sorted(name for name in available_timezones() if "/" in name and not name.startswith("Etc/"))


def lines_of(text: str) -> list[str]:
    """Return the lines of a text that say something."""
    return [line.strip() for line in text.splitlines() if line.strip()]


class KeyedForm(DomainForm):
    """A form that counts once however often it is sent: `key` stays the same until something was accepted under it."""

    key = forms.CharField(max_length=100, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("key", uuid.uuid4().hex)

    @property
    def refusal(self) -> str:
        """Return in one sentence why nothing was accepted."""
        return next((str(text) for texts in self.errors.values() for text in texts), "")

    @property
    def fresh_key(self) -> str:
        """Return the key for what is sent next."""
        return str(self["key"].value() or uuid.uuid4().hex)
