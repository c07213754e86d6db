"""Registering an MCP server, and giving it another credential."""

from __future__ import annotations

from typing import Any

from django import forms

from services.api.dashboard.forms.base import DomainForm, lines_of
from services.domain.upstreams.actions import MAX_CREDENTIAL_CHARS
from services.domain.upstreams.models import UpstreamAuth
from services.domain.upstreams.urls import MAX_URL_CHARS

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
    url = forms.CharField(
        label="Address",
        max_length=MAX_URL_CHARS,
        widget=forms.TextInput(attrs={"class": "code", "placeholder": "https://mcp.example.com/mcp"}),
        help_text="Of its streamable HTTP endpoint.",
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
        return values


class CredentialForm(DomainForm):
    """Another credential for a server that has one."""

    credential = _secret_field("New credential", "Replaces the one that is kept.", required=True)
