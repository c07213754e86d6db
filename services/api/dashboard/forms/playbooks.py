"""Making and changing a playbook."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django import forms

from services.api.dashboard.forms.base import DomainForm, time_zones
from services.domain.agents.models import Agent
from services.domain.chats.models import Chat
from services.domain.playbooks.models import Playbook


class PlaybookForm(DomainForm):
    """A prompt and when it is fired."""

    name = forms.CharField(max_length=80)
    agent_id = forms.TypedChoiceField(label="Agent", coerce=uuid.UUID)
    prompt = forms.CharField(
        strip=False,
        widget=forms.Textarea(attrs={"rows": 6, "class": "code"}),
        help_text="What the agent is asked.",
    )
    cron = forms.CharField(
        label="Schedule",
        max_length=100,
        required=False,
        widget=forms.TextInput(attrs={"class": "code", "placeholder": "30 7 * * 1-5", "autocomplete": "off"}),
        help_text="Minute, hour, day of the month, month, day of the week. Empty: only a webhook or a person fires it.",
    )
    timezone = forms.CharField(
        label="Time zone",
        max_length=60,
        initial="UTC",
        widget=forms.TextInput(attrs={"list": "timezones", "autocomplete": "off"}),
        help_text="In which the schedule is read, with its summer time.",
    )
    is_enabled = forms.BooleanField(label="Enabled", required=False, initial=True)
    keeps_workspace = forms.BooleanField(
        label="Go on in the same workspace",
        required=False,
        help_text="Each run sees the files and the conversation of the one before.",
    )
    chat_id = forms.TypedChoiceField(
        label="Send the answer to",
        required=False,
        coerce=uuid.UUID,
        empty_value=None,
        help_text="A chat of one of your links.",
    )

    def __init__(self, *args: Any, agents: Sequence[Agent], chats: Sequence[Chat], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        agent_field, chat_field = self.fields["agent_id"], self.fields["chat_id"]
        if isinstance(agent_field, forms.TypedChoiceField) and isinstance(chat_field, forms.TypedChoiceField):
            agent_field.choices = [(str(agent.id), agent.name) for agent in agents]
            named = [
                (str(chat.id), f"{chat.title or chat.platform_chat_id} ({chat.link.name})") for chat in chats
            ]
            chat_field.choices = [("", "Nowhere: it stays in the workspace"), *named]

    @classmethod
    def initial_of(cls, playbook: Playbook) -> dict[str, Any]:
        """Return the form's values for a playbook."""
        names = ("name", "agent_id", "prompt", "cron", "timezone", "is_enabled", "keeps_workspace")
        return {
            **{name: getattr(playbook, name) for name in names},
            "chat_id": (playbook.deliver_to or {}).get("chat_id", ""),
        }

    @property
    def zones(self) -> list[str]:
        """Return the time zones to suggest."""
        return time_zones()

    def values(self) -> dict[str, Any]:
        """Return the fields of `PlaybookFields`."""
        values = super().values()
        chat_id = values.pop("chat_id")
        values["deliver_to"] = {"chat_id": str(chat_id)} if chat_id else None
        return values
