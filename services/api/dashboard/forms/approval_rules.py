"""Making and changing a rule about tool calls. Conditions on arguments are typed one a line."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Sequence
from typing import Any

from django import forms
from pydantic import ValidationError

from services.api.dashboard.forms.base import DomainForm, lines_of
from services.domain.agents.models import Agent
from services.domain.approvals.matching import ArgumentMatcher
from services.domain.approvals.models import ApprovalRule
from services.domain.approvals.rules import DEFAULT_LIFETIME_S, LONGEST_LIFETIME_S
from services.domain.chats.models import Chat
from services.domain.identity.models import Membership

EFFECTS = (("hold", "Hold for a person"), ("allow", "Allow"), ("deny", "Deny"))
ROLES = (("member", "Any member"), ("admin", "Admins and owners"), ("owner", "Owners"))
_HOUR_S = 3_600


class RuleForm(DomainForm):
    """What becomes of some tool calls, and who decides those that are held."""

    name = forms.CharField(max_length=120, required=False, help_text="What it is for.")
    effect = forms.ChoiceField(label="What becomes of the call", choices=EFFECTS)
    tool = forms.CharField(
        max_length=200,
        widget=forms.TextInput(
            attrs={"class": "code", "placeholder": "gmail.gmail_send", "autocomplete": "off"}
        ),
        help_text="server.tool, with * for any part: gmail.*, *.*_delete, or * for all.",
    )
    agent_id = forms.TypedChoiceField(label="Agent", required=False, coerce=uuid.UUID, empty_value=None)
    chat_id = forms.TypedChoiceField(label="Chat", required=False, coerce=uuid.UUID, empty_value=None)
    arguments = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "class": "code", "placeholder": "to.* glob *@acme.example"}),
        help_text="One condition a line, all of which must hold: an argument, then equals, glob or regex and a value, "
        "or present or absent. The rule is about every call when there are none.",
    )
    priority = forms.IntegerField(
        min_value=-100, max_value=100, initial=0, help_text="A higher one comes before a more specific rule."
    )
    people = forms.TypedChoiceField(
        label="How many must agree", coerce=int, choices=((1, "One person"), (2, "Two people")), initial=1
    )
    decider_role = forms.ChoiceField(label="Who decides", choices=ROLES, initial="member")
    decider_ids = forms.TypedMultipleChoiceField(
        label="Or only these members", required=False, coerce=uuid.UUID, widget=forms.CheckboxSelectMultiple
    )
    may_decide_own = forms.BooleanField(
        label="The person that the work is for may decide alone", required=False, initial=True
    )
    lifetime_h = forms.IntegerField(
        label="Expires after",
        min_value=1,
        max_value=LONGEST_LIFETIME_S // _HOUR_S,
        initial=DEFAULT_LIFETIME_S // _HOUR_S,
        help_text="Hours in which somebody must decide.",
    )
    is_enabled = forms.BooleanField(label="Enabled", required=False, initial=True)

    def __init__(
        self,
        *args: Any,
        agents: Sequence[Agent],
        chats: Sequence[Chat],
        members: Sequence[Membership],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        choices: dict[str, list[tuple[str, str]]] = {
            "agent_id": [("", "Every agent"), *((str(agent.id), agent.name) for agent in agents)],
            "chat_id": [
                ("", "Anywhere"),
                *(
                    (str(chat.id), f"{chat.title or chat.platform_chat_id} ({chat.link.name})")
                    for chat in chats
                ),
            ],
            "decider_ids": [
                (str(member.user_id), member.user.shown_name) for member in members if member.role != "viewer"
            ],
        }
        for name, listed in choices.items():
            field = self.fields[name]
            if isinstance(field, forms.ChoiceField):
                field.choices = listed

    @classmethod
    def initial_of(cls, rule: ApprovalRule) -> dict[str, Any]:
        """Return the form's values for a rule."""
        same = (
            "name", "effect", "tool", "agent_id", "chat_id", "priority", "people", "decider_role", "decider_ids",
            "may_decide_own", "is_enabled",
        )  # fmt: skip
        return {
            **{name: getattr(rule, name) for name in same},
            "arguments": "\n".join(
                show_matcher(ArgumentMatcher.model_validate(row)) for row in rule.arguments
            ),
            "lifetime_h": max(1, rule.lifetime_s // _HOUR_S),
        }

    def clean_arguments(self) -> list[ArgumentMatcher]:
        """Read the conditions, one a line."""
        matchers = []
        for line in lines_of(self.cleaned_data["arguments"]):
            try:
                matchers.append(parse_matcher(line))
            except ValueError as error:
                raise forms.ValidationError(f"This is no condition: {line}") from error
        return matchers

    def values(self) -> dict[str, Any]:
        """Return the fields of `RuleFields`."""
        values = super().values()
        values["lifetime_s"] = values.pop("lifetime_h") * _HOUR_S
        return values


def parse_matcher(line: str) -> ArgumentMatcher:
    """Read `to.* glob *@acme.example`, `amount equals 100`, `bcc absent`. Raises: ValueError."""
    path, _, rest = line.strip().partition(" ")
    test, _, text = rest.strip().partition(" ")
    value: Any = text.strip() or None
    if test == "equals" and value is not None:
        with contextlib.suppress(ValueError):  # a text without quotes
            value = json.loads(value)
    try:
        return ArgumentMatcher.model_validate({"path": path, "test": test, "value": value})
    except ValidationError as error:
        raise ValueError(line) from error


def show_matcher(matcher: ArgumentMatcher) -> str:
    """Return a condition as `parse_matcher` reads it."""
    if matcher.value is None:
        return f"{matcher.path} {matcher.test}"
    value = json.dumps(matcher.value, ensure_ascii=False) if matcher.test == "equals" else matcher.value
    return f"{matcher.path} {matcher.test} {value}"
