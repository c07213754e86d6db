"""Quiet hours, and what a person says about themselves."""

from __future__ import annotations

from typing import Any

from django import forms

from services.api.dashboard.forms.base import DomainForm, time_zones
from services.domain.identity.people import LANGUAGE


def _clock_field(label: str, help_text: str) -> forms.TimeField:
    widget = forms.TimeInput(attrs={"type": "time"}, format="%H:%M")
    return forms.TimeField(label=label, required=False, widget=widget, help_text=help_text)


class PersonForm(DomainForm):
    """A person's name and language."""

    display_name = forms.CharField(label="Name", max_length=120, required=False)
    language = forms.RegexField(
        LANGUAGE,
        max_length=35,
        required=False,
        help_text="A tag such as de or pt-BR. Your agents are told it.",
    )


class QuietHoursForm(DomainForm):
    """When a person wants no messages."""

    quiet_from = _clock_field("Quiet from", "Leave both empty, and messages come at any time.")
    quiet_to = _clock_field("Until", "An earlier time is the next morning's.")
    time_zone = forms.CharField(
        label="Time zone",
        max_length=60,
        initial="UTC",
        widget=forms.TextInput(attrs={"list": "timezones", "autocomplete": "off"}),
        help_text="A name such as Europe/Berlin.",
    )

    def clean(self) -> dict[str, Any]:
        """Want both times or neither, and not the same."""
        given = super().clean() or self.cleaned_data
        if not self.errors:
            start, end = given["quiet_from"], given["quiet_to"]
            if (start is None) != (end is None):
                self.add_error("quiet_to" if end is None else "quiet_from", "Give both times, or neither.")
            elif start is not None and start == end:
                self.add_error("quiet_to", "Give another time than the first.")
        return given

    @property
    def zones(self) -> list[str]:
        """Return the time zones to suggest."""
        return time_zones()
