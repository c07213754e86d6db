"""Linking a bot and wiring its chats."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django import forms
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from services.adapters.chat.registry import AdapterClass
from services.api.dashboard.forms.base import DomainForm
from services.domain.agents.models import Agent
from services.domain.chats.models import Engage, LiveAnswers, SessionMode, UnknownSenders, Wiring

_ENGAGE = {
    Engage.MENTION: "When mentioned or in a direct message",
    Engage.ALWAYS: "To every message",
    Engage.PATTERN: "When the text matches a pattern",
    Engage.NEVER: "Never: messages are kept as context",
}
_SESSION = {
    SessionMode.SHARED: "One for the chat",
    SessionMode.PER_THREAD: "One for each thread",
    SessionMode.AGENT_SHARED: "One for the agent, over all its chats",
}
_UNKNOWN = {
    UnknownSenders.REQUEST_APPROVAL: "Wait until an admin lets them in",
    UnknownSenders.STRICT: "Are refused",
    UnknownSenders.PUBLIC: "Are answered like anybody",
}
_LIVE = {
    LiveAnswers.AUTO: "In direct chats and threads",
    LiveAnswers.ON: "Always",
    LiveAnswers.OFF: "Never: only that the agent is at work",
}
_MAX_LONG = 20_000
_ANY_AGENT = ("", "None: unknown chats wait for you")


def _unknown_senders() -> forms.ChoiceField:
    return forms.ChoiceField(
        label="People whom nobody here knows",
        choices=[(value.value, label) for value, label in _UNKNOWN.items()],
        initial=UnknownSenders.REQUEST_APPROVAL,
        help_text="Known is who has linked the account, or was let in by an admin. Only admins open a bot to anybody.",
    )


class UnknownSendersForm(DomainForm):
    """What becomes of what people write to a bot whom nobody here knows."""

    unknown_senders = _unknown_senders()


class LinkForm(DomainForm):
    """A new link: its name, its first agent, and what the platform's own configuration asks for."""

    name = forms.CharField(max_length=80, help_text="What people here call the bot.")
    default_agent_id = forms.TypedChoiceField(
        label="Agent for new chats",
        required=False,
        coerce=uuid.UUID,
        empty_value=None,
        help_text="A chat that writes for the first time is wired to this agent.",
    )
    unknown_senders = _unknown_senders()

    def __init__(
        self, *args: Any, adapter: AdapterClass | None, agents: Sequence[Agent], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        _offer_agents(self, "default_agent_id", agents, [_ANY_AGENT])
        self._config_names: list[str] = []
        if adapter is not None:
            self._ask_for(adapter)

    def _ask_for(self, adapter: AdapterClass) -> None:
        for name, info in adapter.config_model.model_fields.items():
            extra = info.json_schema_extra
            if isinstance(extra, dict) and extra.get("filled_by"):
                continue
            self._config_names.append(name)
            self.fields[name] = _config_field(name, info)

    def values(self) -> dict[str, Any]:
        """Return name, agent, and the configuration in a dictionary of its own."""
        values = super().values()
        given = {name: values.pop(name) for name in self._config_names}
        values["config"] = {name: value for name, value in given.items() if value}
        return values


class WiringForm(DomainForm):
    """When an agent answers in a chat, and in which workspace."""

    agent_id = forms.TypedChoiceField(label="Agent", coerce=uuid.UUID)
    engage = forms.ChoiceField(
        label="Answers",
        choices=[(value.value, label) for value, label in _ENGAGE.items()],
        initial=Engage.MENTION,
    )
    pattern = forms.CharField(
        max_length=300,
        required=False,
        widget=forms.TextInput(attrs={"class": "code", "placeholder": "^deploy "}),
        help_text="A regular expression, for the third choice only.",
    )
    session_mode = forms.ChoiceField(
        label="Workspace",
        choices=[(value.value, label) for value, label in _SESSION.items()],
        initial=SessionMode.SHARED,
    )
    priority = forms.IntegerField(
        min_value=-1000, max_value=1000, initial=0, help_text="The highest is judged first."
    )
    live_answers = forms.ChoiceField(
        label="Shows answers while they are written",
        choices=[(value.value, label) for value, label in _LIVE.items()],
        initial=LiveAnswers.AUTO,
    )
    is_enabled = forms.BooleanField(label="Enabled", required=False, initial=True)

    def __init__(
        self, *args: Any, agents: Sequence[Agent], wiring: Wiring | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        if wiring is None:
            _offer_agents(self, "agent_id", agents, [])
        else:
            del self.fields["agent_id"]

    @classmethod
    def initial_of(cls, wiring: Wiring) -> dict[str, Any]:
        """Return the form's values for a wiring."""
        return {name: getattr(wiring, name) for name in cls.base_fields}


def _offer_agents(
    form: forms.Form, name: str, agents: Sequence[Agent], first: Sequence[tuple[str, str]]
) -> None:
    field = form.fields[name]
    if isinstance(field, forms.TypedChoiceField):
        field.choices = [*first, *((str(agent.id), agent.name) for agent in agents)]


def _config_field(name: str, info: FieldInfo) -> forms.Field:
    """Return an input for one field of a configuration; secrets are not shown while they are typed."""
    is_secret = info.annotation is SecretStr or SecretStr in getattr(info.annotation, "__args__", ())
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    attrs = {"autocomplete": "off", "class": "code"}
    widget: forms.Widget = forms.PasswordInput(attrs=attrs) if is_secret else forms.TextInput(attrs=attrs)
    if extra.get("is_long"):
        # A file of several lines, such as a key, which an input of one line would join.
        widget = forms.Textarea(attrs=attrs | {"rows": 6})
    return forms.CharField(
        label=info.title or name.replace("_", " ").capitalize(),
        required=info.is_required(),
        max_length=_MAX_LONG if extra.get("is_long") else 2_000,
        help_text=info.description or "",
        widget=widget,
    )
