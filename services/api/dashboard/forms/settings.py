"""API tokens, invitations, organisations."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django import forms

from services.api.dashboard.forms.base import DomainForm
from services.domain.actors import OF_ONE_AGENT, SCOPES
from services.domain.audit.models import AuditAction
from services.domain.identity.models import Role, TokenKind
from services.domain.oauth.servers import PeopleServer, scopes_of
from services.kit.clock import now

_LIVES = ((7, "7 days"), (30, "30 days"), (90, "90 days"), (365, "1 year"))


class TokenForm(DomainForm):
    """A new API token."""

    name = forms.CharField(max_length=80, help_text="Where it will be used.")
    days = forms.TypedChoiceField(label="Expires after", choices=_LIVES, coerce=int, initial=90)
    kind = forms.ChoiceField(
        choices=[
            (TokenKind.BEARER, "A token that is sent with each request"),
            (TokenKind.SIGNING, "A key that requests are signed with"),
        ],
        required=False,
    )
    agents = forms.MultipleChoiceField(
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text="None chosen: all agents. With some, it reaches them and their work, and nothing else.",
    )
    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in sorted(SCOPES)],
        widget=forms.CheckboxSelectMultiple,
        initial=sorted(SCOPES),
        required=False,
        help_text="What it may do at the API. Give it no more than it needs.",
    )
    mcp_scopes = forms.MultipleChoiceField(
        label="MCP servers",
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text="Which of them it reaches at the gateway, to read or for all they do. None unless you say so.",
    )

    def __init__(
        self,
        *args: Any,
        servers: Sequence[PeopleServer],
        agents: Sequence[tuple[str, str]],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        named: Any = self.fields["agents"]
        named.choices = agents
        offered: Any = self.fields["mcp_scopes"]
        offered.choices = [(scope, scope) for scope in scopes_of(servers)]

    def clean(self) -> dict[str, Any]:
        """Refuse a token that is good for nothing."""
        given = super().clean() or {}
        if not self.errors and not given["scopes"] and not given["mcp_scopes"]:
            self.add_error("scopes", "Choose at least one.")
        return given

    def values(self) -> dict[str, Any]:
        """Return what `create_token` wants."""
        values = super().values()
        values["scopes"] += values.pop("mcp_scopes")
        values["kind"] = values["kind"] or TokenKind.BEARER
        agents = values.pop("agents")
        values["agent_ids"] = [uuid.UUID(each) for each in agents] or None
        if agents:
            # What else is ticked is of no single agent.
            values["scopes"] = sorted(set(values["scopes"]) & OF_ONE_AGENT)
        values["expires_at"] = now() + timedelta(days=values.pop("days"))
        return values


class InvitationForm(DomainForm):
    """An offer of a place."""

    email = forms.EmailField(
        label="E-mail", required=False, help_text="Empty: a link for whoever you give it to. It works once."
    )
    role = forms.ChoiceField(choices=Role.choices, initial=Role.MEMBER)


class OrganisationForm(DomainForm):
    """An organisation's names."""

    name = forms.CharField(max_length=120)
    slug = forms.CharField(
        label="Short name", max_length=40, help_text="Lowercase letters, digits and hyphens; programs use it."
    )


class AuditForm(DomainForm):
    """Which part of the audit log to show."""

    action = forms.ChoiceField(
        choices=[("", "everything"), *((value, value) for value in AuditAction.values)], required=False
    )
    user = forms.ChoiceField(label="Person", required=False)

    def __init__(self, *args: Any, people: Sequence[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        offered: Any = self.fields["user"]
        offered.choices = [("", "everybody"), *people]
