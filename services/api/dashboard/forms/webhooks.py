"""Webhooks."""

from __future__ import annotations

from django import forms

from services.api.dashboard.forms.base import DomainForm
from services.domain.upstreams.urls import MAX_URL_CHARS
from services.domain.webhooks.types import WEBHOOK_TYPES


class WebhookForm(DomainForm):
    """A new webhook, or another address and other events for one that there is."""

    name = forms.CharField(max_length=80)
    url = forms.CharField(
        label="Address",
        max_length=MAX_URL_CHARS,
        help_text="https, on the public internet.",
        widget=forms.URLInput(attrs={"placeholder": "https://example.com/slipway"}),
    )
    event_types = forms.MultipleChoiceField(
        label="Events",
        choices=[(name, name) for name in WEBHOOK_TYPES],
        widget=forms.CheckboxSelectMultiple,
        initial=["task.finished"],
    )
