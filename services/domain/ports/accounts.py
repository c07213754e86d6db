"""The port of a kind of account elsewhere: what it asks of a person, and how a protocol client of it is opened.

A kind is a folder in `services/adapters/accounts/<kind>/`. It is handed values and gives a client: no row, no query,
no action. Settings are not secret and are shown; credentials are sealed and reach the kind's own client only.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, SecretStr

from services.domain.ports.upstreams import TokenStore


class AccountAuth(enum.StrEnum):
    """What opens an account. `oauth` is given by a person at the provider, the others come with the account."""

    OAUTH = "oauth"
    PASSWORD = "password"  # noqa: S105  # a word
    TOKEN = "token"  # noqa: S105  # a word
    MTLS = "mtls"
    APP = "app"


@dataclass(frozen=True, slots=True)
class AccountManifest:
    """What a kind is. `help` tells a person where the credentials come from.

    `revokes` says that the provider is asked to end the access when the account is removed.
    """

    kind: str
    label: str
    auth: AccountAuth
    help: str
    source: str
    revokes: bool = False


class AccountSettings(BaseModel):
    """The base of a kind's settings: closed, and not secret.

    A field that says where the credentials are sent is marked `json_schema_extra={"binds": True}`: when it changes,
    they are lost unless they come along, or whoever may change it could have them sent to a server of their own.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, str_strip_whitespace=True
    )

    @classmethod
    def binding(cls) -> frozenset[str]:
        """Return the names of the fields that say where the credentials go."""
        found = ((name, info.json_schema_extra) for name, info in cls.model_fields.items())
        return frozenset(name for name, extra in found if isinstance(extra, dict) and extra.get("binds"))


class AccountCredentials(BaseModel):
    """The base of a kind's credentials: closed, silent about its values, in clear for the vault only."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    def revealed(self) -> dict[str, Any]:
        """Return all set fields as JSON values, secrets in clear: for the vault and nothing else."""
        values = self.model_dump(exclude_defaults=True)
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in values.items()
        }


@dataclass(frozen=True, slots=True)
class OAuthApp:
    """The OAuth client of the installation at one provider."""

    client_id: str
    client_secret: SecretStr | None


@dataclass(frozen=True, slots=True)
class Installation:
    """What the operator set: base addresses by the setting's name, and OAuth clients by provider."""

    endpoints: Mapping[str, str] = field(default_factory=dict)
    oauth_apps: Mapping[str, OAuthApp] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AccountAccess:
    """One account as its kind gets it. `version` changes with settings and credentials; `agent_id` uses it; None is a
    person's own program."""

    account_id: uuid.UUID
    version: datetime
    settings: Any
    credentials: Any = field(repr=False)
    tokens: TokenStore | None = field(default=None, repr=False)
    agent_id: uuid.UUID | None = None
