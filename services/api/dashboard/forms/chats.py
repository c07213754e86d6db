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
from services.api.dashboard.forms.notifications import QuietHoursForm
from services.domain.agents.models import Agent
from services.domain.chats.models import (
    Engage,
    LiveAnswers,
    SenderScope,
    SessionMode,
    Unanswered,
    UnknownSenders,
    Wiring,
)
from services.domain.chats.wirings import MAX_BOT_TURNS
from services.domain.identity.models import Membership

_ENGAGE = {
    Engage.MENTION: "When mentioned or in a direct message",
    Engage.MENTION_STICKY: "Once mentioned, to all that follows in the thread",
    Engage.ALWAYS: "To every message",
    Engage.PATTERN: "When the text matches a pattern",
    Engage.COMMAND: "When the message is a command",
    Engage.NEVER: "Never: it only listens",
}
_SCOPE = {
    SenderScope.ALL: "Everybody whom the bot hears",
    SenderScope.KNOWN: "People who are known: members, and those an admin let in",
    SenderScope.MEMBERS: "Members",
    SenderScope.PEOPLE: "The members chosen here",
}
_UNANSWERED = {
    Unanswered.ACCUMULATE: "It reads with the next message",
    Unanswered.DROP: "It never reads",
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


class NewChatForm(DomainForm):
    """With whom a bot is to begin a direct chat; `hint` is how its platform names people."""

    person_id = forms.CharField(
        label="Person", max_length=200, widget=forms.TextInput(attrs={"autocomplete": "off"})
    )

    def __init__(self, *args: Any, hint: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["person_id"].help_text = f"{hint[:1].upper()}{hint[1:]}."


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


def _choice(label: str, choices: dict[Any, str], help_text: str = "") -> forms.ChoiceField:
    """Return a choice whose first is what holds when nothing is said."""
    offered = [(value.value, text) for value, text in choices.items()]
    return forms.ChoiceField(label=label, choices=offered, initial=offered[0][0], help_text=help_text)


class WiringForm(QuietHoursForm):
    """When an agent answers in a chat, whom, and in which workspace."""

    agent_id = forms.TypedChoiceField(label="Agent", coerce=uuid.UUID)
    engage = _choice("Answers", _ENGAGE)
    pattern = forms.CharField(
        max_length=300,
        required=False,
        widget=forms.TextInput(attrs={"class": "code", "placeholder": "^deploy "}),
        help_text="A regular expression without look-around, where it answers to one.",
    )
    command = forms.CharField(
        max_length=32,
        required=False,
        widget=forms.TextInput(attrs={"class": "code", "placeholder": "deploy"}),
        help_text="The word after the slash, where it answers to one.",
    )
    sender_scope = _choice("To whom", _SCOPE)
    people = forms.TypedMultipleChoiceField(
        label="These members", required=False, coerce=uuid.UUID, widget=forms.CheckboxSelectMultiple
    )
    session_mode = _choice("Workspace", _SESSION)
    unanswered = _choice("What it does not answer", _UNANSWERED)
    priority = forms.IntegerField(
        min_value=-1000, max_value=1000, initial=0, help_text="The highest is judged first."
    )
    is_exclusive = forms.BooleanField(
        label="Exclusive", required=False, help_text="When it answers, those judged after it do not."
    )
    bot_turns = forms.IntegerField(
        label="Messages of other bots",
        min_value=0,
        max_value=MAX_BOT_TURNS,
        initial=0,
        help_text="How many it answers in an hour until a person speaks. 0: it answers no bot.",
    )
    live_answers = forms.ChoiceField(
        label="Shows answers while they are written",
        choices=[(value.value, label) for value, label in _LIVE.items()],
        initial=LiveAnswers.AUTO,
    )
    is_enabled = forms.BooleanField(label="Enabled", required=False, initial=True)

    field_order = (
        *("agent_id", "engage", "pattern", "command", "sender_scope", "people", "session_mode", "unanswered"),
        *("priority", "is_exclusive", "bot_turns", "quiet_from", "quiet_to", "time_zone"),
        *("live_answers", "is_enabled"),
    )

    def __init__(
        self,
        *args: Any,
        agents: Sequence[Agent],
        members: Sequence[Membership],
        wiring: Wiring | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        named = self.fields["people"]
        if isinstance(named, forms.TypedMultipleChoiceField):
            named.choices = [(str(member.user_id), member.user.shown_name) for member in members]
        self.fields[
            "quiet_from"
        ].help_text = "Then it listens and does not answer. Leave both empty for none."
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
