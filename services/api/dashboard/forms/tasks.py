"""Asking an agent for something, in a new workspace or in one that is there."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django import forms

from services.api.dashboard.forms.base import KeyedForm
from services.domain.agents.models import Agent, WhenBusy

MICRO = Decimal(1_000_000)


class PromptForm(KeyedForm):
    """The next prompt."""

    prompt = forms.CharField(
        strip=False,
        required=False,
        widget=forms.Textarea(
            attrs={
                "rows": 1,
                "placeholder": "Write the next prompt…",
                "aria-label": "Prompt",
                "data-composer": True,
            }
        ),
    )


_WHEN_BUSY = {
    WhenBusy.STEER: "Into the turn at work",
    WhenBusy.QUEUE: "After the turn at work",
    WhenBusy.INTERRUPT: "Instead of it",
}
_OF_FORM = {"form": "prompt-form"}


class NextPromptForm(PromptForm):
    """The next prompt of a workspace, with what it may say about how it is worked on. Money is typed in dollars.

    `agent_id` empty is the workspace's own agent; another one gets the prompt in a workspace of its own.
    """

    when_busy = forms.ChoiceField(
        required=False,
        choices=[(value.value, label) for value, label in _WHEN_BUSY.items()],
        widget=forms.Select(attrs={**_OF_FORM, "aria-label": "While the agent is at work"}),
    )
    agent_id = forms.TypedChoiceField(
        label="Agent", required=False, coerce=uuid.UUID, empty_value=None, widget=forms.Select(attrs=_OF_FORM)
    )
    model = forms.CharField(
        max_length=100,
        required=False,
        widget=forms.TextInput(attrs={**_OF_FORM, "list": "models", "placeholder": "the agent's own"}),
    )
    budget_usd = forms.DecimalField(
        label="Budget (US$)",
        required=False,
        min_value=Decimal(0),
        max_value=Decimal(1_000_000),
        decimal_places=6,
        widget=forms.NumberInput(attrs={**_OF_FORM, "step": "any", "placeholder": "the agent's own"}),
    )

    def __init__(
        self, *args: Any, agents: Sequence[Agent] = (), agent: Agent | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        others = [(str(one.id), f"{one.name}, in a new workspace") for one in agents if one != agent]
        own = [("", f"{agent.name}, here")] if agent is not None else []
        field = self.fields["agent_id"]
        if isinstance(field, forms.TypedChoiceField):
            field.choices = [*own, *others]
        if agent is not None:
            busy = agent.when_busy if agent.when_busy in _WHEN_BUSY else WhenBusy.QUEUE
            self.fields["when_busy"].initial = busy

    def values(self) -> dict[str, Any]:
        """Return what the action gets: money in micro-dollars, nothing for what was left out."""
        given = super().values()
        budget = given.pop("budget_usd")
        return {
            **given,
            "when_busy": given["when_busy"] or WhenBusy.QUEUE,
            "model": given["model"] or None,
            "max_budget_microusd": int(budget * MICRO) if budget is not None else None,
        }


class NewTaskForm(PromptForm):
    """A prompt for an agent; it makes a workspace."""

    agent_id = forms.TypedChoiceField(label="Agent", coerce=uuid.UUID)

    def __init__(self, *args: Any, agents: Sequence[Agent], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["agent_id"]
        if isinstance(field, forms.TypedChoiceField):
            field.choices = [(str(agent.id), agent.name) for agent in agents]
        self.fields["prompt"].widget.attrs.update(rows=3, placeholder="What should be done?")
