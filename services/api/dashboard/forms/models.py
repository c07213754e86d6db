"""The rules for models, the organisation's own keys, and budgets."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django import forms

from services.api.dashboard.forms.base import DomainForm, lines_of
from services.domain.llm.actions import fields_of
from services.domain.llm.budgets import MAX_LIMIT_MICROUSD
from services.domain.llm.keys import MAX_KEY_CHARS
from services.domain.llm.models import BudgetLevel, BudgetPeriod, Effort, KeySource, LlmPolicy, LlmVendor
from services.domain.upstreams.urls import MAX_URL_CHARS

MICRO = Decimal(1_000_000)
_SOURCES = (
    (KeySource.OWN_FIRST, "Our own key where there is one, else the platform's"),
    (KeySource.OWN, "Our own key only"),
    (KeySource.PLATFORM, "The platform's key only"),
)
_VENDORS = ((LlmVendor.ANTHROPIC, "Anthropic"), (LlmVendor.OPENAI, "OpenAI, or a server that speaks its API"))
_PERIODS = (
    (BudgetPeriod.DAY, "day"),
    (BudgetPeriod.MONTH, "month"),
    (BudgetPeriod.RUN, "run of a playbook"),
)


class PolicyForm(DomainForm):
    """The rules for models."""

    allowed = forms.CharField(
        label="Allowed models",
        widget=forms.Textarea(attrs={"rows": 3, "class": "code"}),
        help_text="One a line; * stands for anything, such as claude-sonnet-*.",
    )
    key_source = forms.ChoiceField(label="Whose key pays", choices=_SOURCES)
    default_anthropic = forms.CharField(label="Default for Claude agents", max_length=100, required=False)
    default_openai = forms.CharField(label="Default for other agents", max_length=100, required=False)
    default_effort = forms.ChoiceField(
        label="Default effort",
        choices=[("", "The model's own"), *Effort.choices],
        required=False,
        help_text="How hard a model thinks where its agent does not say.",
    )
    transcriber = forms.CharField(
        label="Transcriber of voice messages",
        max_length=100,
        required=False,
        help_text="A model of an OpenAI-compatible server, such as whisper-1. Empty: agents get the recording alone.",
    )
    retries = forms.IntegerField(
        label="Further tries",
        min_value=0,
        max_value=5,
        help_text="When a vendor is overloaded or does not answer.",
    )
    fallbacks = forms.CharField(
        label="Stand-ins",
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "class": "code"}),
        help_text="One a line: claude-opus-* claude-sonnet-5. The second is asked when the first cannot answer.",
    )
    logs_calls = forms.BooleanField(
        label="Log prompts and answers",
        required=False,
        help_text="Redacted and sealed; only admins can read them. Off unless you need it.",
    )
    log_hides_emails = forms.BooleanField(label="Hide e-mail addresses in logs", required=False)
    log_keep_days = forms.IntegerField(label="Keep logs for (days)", min_value=1, max_value=365)

    @classmethod
    def initial_of(cls, policy: LlmPolicy) -> dict[str, Any]:
        """Return a row as the form shows it."""
        return fields_of(policy) | {
            "allowed": "\n".join(policy.allowed),
            "fallbacks": "\n".join(f"{entry['model']} {entry['use']}" for entry in policy.fallbacks),
        }

    def clean_fallbacks(self) -> list[dict[str, str]]:
        """Read the lines. Raises: ValidationError."""
        found = []
        for line in lines_of(self.cleaned_data["fallbacks"]):
            words = line.split()
            if len(words) != 2:
                raise forms.ValidationError("Two names a line: a pattern, and the model that stands in.")
            found.append({"model": words[0], "use": words[1]})
        return found

    def values(self) -> dict[str, Any]:
        """Return what `update_policy` wants."""
        values = super().values()
        values["allowed"] = lines_of(values["allowed"])
        for name in ("default_anthropic", "default_openai", "default_effort", "transcriber"):
            values[name] = values[name] or None
        return values


class ModelKeyForm(DomainForm):
    """A key of the organisation's own."""

    vendor = forms.ChoiceField(choices=_VENDORS)
    name = forms.CharField(max_length=80, help_text="To tell keys apart.")
    key = forms.CharField(
        max_length=MAX_KEY_CHARS,
        widget=forms.PasswordInput(attrs={"class": "code", "autocomplete": "off"}),
        help_text="Tried at its vendor at once, sealed, never shown again.",
    )
    base_url = forms.CharField(
        label="Address",
        max_length=MAX_URL_CHARS,
        required=False,
        widget=forms.TextInput(attrs={"class": "code", "placeholder": "https://models.example.com/v1"}),
        help_text="Only for a server that speaks the vendor's API elsewhere.",
    )
    priority = forms.IntegerField(
        min_value=0, max_value=1_000, initial=100, help_text="The lowest is tried first."
    )


class BudgetForm(DomainForm):
    """A budget. Money is typed in dollars, kept in micro-dollars."""

    whose = forms.ChoiceField(label="Of")
    period = forms.ChoiceField(label="For each", choices=_PERIODS)
    limit_usd = forms.DecimalField(
        label="Limit (US$)",
        min_value=Decimal(0),
        max_value=Decimal(MAX_LIMIT_MICROUSD) / MICRO,
        decimal_places=6,
        help_text="Calls that could pass it are refused. What this day or month has cost already counts.",
    )

    def __init__(self, *args: Any, subjects: Sequence[tuple[str, uuid.UUID, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        whose = self.fields["whose"]
        if isinstance(whose, forms.ChoiceField):
            whose.choices = [
                (BudgetLevel.ORGANISATION.value, "the whole organisation"),
                *((f"{level}:{subject}", f"{level} {name}") for level, subject, name in subjects),
            ]

    def values(self) -> dict[str, Any]:
        """Return the fields of `BudgetFields`."""
        level, _, subject = self.cleaned_data["whose"].partition(":")
        return {
            "level": level,
            "period": self.cleaned_data["period"],
            "subject_id": subject or None,
            "limit_microusd": int(self.cleaned_data["limit_usd"] * MICRO),
        }
