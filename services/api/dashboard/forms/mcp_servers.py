"""Registering an MCP server, and giving it another credential."""

from __future__ import annotations

from typing import Any

from django import forms

from services.api.dashboard.forms.base import DomainForm, lines_of
from services.domain.upstreams.actions import MAX_CREDENTIAL_CHARS
from services.domain.upstreams.in_sandbox import MAX_COMMAND_CHARS
from services.domain.upstreams.models import UpstreamAuth, UpstreamTransport
from services.domain.upstreams.urls import MAX_URL_CHARS

_PLACES = (
    (UpstreamTransport.HTTP, "Elsewhere, at an address"),
    (UpstreamTransport.STDIO, "In the agent's sandbox: a program"),
)
_WAYS = (
    (UpstreamAuth.NONE, "Nothing: it is open"),
    (UpstreamAuth.HEADER, "A header with a fixed value"),
    (UpstreamAuth.OAUTH, "OAuth: somebody connects it in the browser"),
)


def _secret_field(label: str, help_text: str, *, required: bool) -> forms.CharField:
    return forms.CharField(
        label=label,
        max_length=MAX_CREDENTIAL_CHARS,
        required=required,
        widget=forms.PasswordInput(attrs={"class": "code", "autocomplete": "off"}),
        help_text=help_text,
    )


class McpServerForm(DomainForm):
    """A new MCP server."""

    name = forms.CharField(
        max_length=40,
        widget=forms.TextInput(attrs={"class": "code", "placeholder": "weather"}),
        help_text="What agents list it as: small letters, digits, - and _.",
    )
    transport = forms.ChoiceField(
        label="Where it is", choices=_PLACES, required=False, initial=UpstreamTransport.HTTP
    )
    url = forms.CharField(
        label="Address",
        max_length=MAX_URL_CHARS,
        required=False,
        widget=forms.TextInput(attrs={"class": "code", "placeholder": "https://mcp.example.com/mcp"}),
        help_text="Of its streamable HTTP endpoint.",
    )
    command = forms.CharField(
        label="Program",
        max_length=MAX_COMMAND_CHARS,
        required=False,
        widget=forms.TextInput(attrs={"class": "code", "placeholder": "mcp-server-git"}),
        help_text="For the sandbox: of its image, or of the agent's packages. No shell reads it.",
    )
    args = forms.CharField(
        label="Arguments",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "class": "code"}),
        help_text="One a line.",
    )
    env = forms.CharField(
        label="Variables",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "class": "code", "placeholder": "MODE=fast"}),
        help_text="`NAME=value`, one a line. Everybody who sees this server sees them.",
    )
    env_secrets = forms.CharField(
        label="Variables from secrets",
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "class": "code", "placeholder": "API_KEY=ACME_KEY"}),
        help_text="`NAME=SECRET`, one a line: the secret's name. Only those that the agent is granted.",
    )
    auth = forms.ChoiceField(label="What opens it", choices=_WAYS)
    header_name = forms.CharField(label="Header", max_length=60, initial="Authorization", required=False)
    credential = _secret_field(
        "Credential",
        "The header's whole value, such as `Bearer …`; with OAuth the client's secret. Sealed, never shown again.",
        required=False,
    )
    client_id = forms.CharField(
        label="OAuth client",
        max_length=500,
        required=False,
        help_text="Only where clients are registered by hand.",
    )
    allowed_tools = forms.CharField(
        label="Tools",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "class": "code"}),
        help_text="Names of the tools that agents get, one a line. Empty for all that are reviewed.",
    )
    timeout_s = forms.IntegerField(label="Time limit (seconds)", min_value=1, max_value=600, initial=60)
    is_personal = forms.BooleanField(label="Only for my own work", required=False)

    def values(self) -> dict[str, Any]:
        """Return the fields of `NewUpstream`."""
        values = super().values()
        values["allowed_tools"] = lines_of(values["allowed_tools"]) or None
        values["header_name"] = values["header_name"] or "Authorization"
        values["credential"] = values["credential"] or None
        values["transport"] = values["transport"] or UpstreamTransport.HTTP
        values["args"] = lines_of(values["args"])
        for name in ("env", "env_secrets"):
            values[name] = dict(_pair(line) for line in lines_of(values[name]))
        return values


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition("=")
    return name.strip(), value.strip()


class CredentialForm(DomainForm):
    """Another credential for a server that has one."""

    credential = _secret_field("New credential", "Replaces the one that is kept.", required=True)
