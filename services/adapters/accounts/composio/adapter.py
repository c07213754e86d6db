"""Composio as a kind of account: an API key, and the user whose connections agents use."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from pydantic import Field, SecretStr

from services.adapters.accounts.composio.client import READ_S, Allowed, ComposioClient
from services.adapters.accounts.kind import AccountKind
from services.domain.errors import AccountUnauthorised
from services.domain.ports.accounts import (
    AccountAccess,
    AccountAuth,
    AccountCredentials,
    AccountManifest,
    AccountSettings,
)

_LIST = r"^[A-Za-z0-9_*,\s-]*$"
_BETWEEN = re.compile(r"[,\s]+")


class ComposioSettings(AccountSettings):
    """Whose connections agents use, and which tools."""

    user_id: str = Field(
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        title="User",
        description="The user id under which the accounts were connected at Composio.",
        json_schema_extra={"binds": True},
    )
    toolkits: str = Field(
        default="",
        max_length=2_000,
        pattern=_LIST,
        title="Toolkits",
        description="Those that agents may use: github, notion. Empty for all.",
    )
    tools: str = Field(
        default="",
        max_length=4_000,
        pattern=_LIST,
        title="Tools",
        description="Those that agents may use: GITHUB_LIST_*, NOTION_SEARCH. Empty for all of the toolkits.",
    )

    @property
    def allowed(self) -> Allowed:
        """Return what agents may use."""
        return Allowed(
            toolkits=frozenset(_BETWEEN.split(self.toolkits.lower().strip())) - {""},
            tools=tuple(each for each in _BETWEEN.split(self.tools.upper().strip()) if each),
        )


class ComposioCredentials(AccountCredentials):
    """The project's key."""

    api_key: SecretStr | None = Field(default=None, max_length=300, title="API key")


class Composio(AccountKind):
    """Tools for accounts that were connected at Composio."""

    manifest: ClassVar = AccountManifest(
        kind="composio",
        label="Composio",
        auth=AccountAuth.TOKEN,
        help="The API key stands in the project's settings at Composio; accounts are connected there, for a user id.",
        source="https://docs.composio.dev/reference/api-reference/tools",
    )
    settings_model: ClassVar = ComposioSettings
    credentials_model: ClassVar = ComposioCredentials
    endpoints: ClassVar = {"COMPOSIO_API_BASE": "https://backend.composio.dev"}

    @contextlib.asynccontextmanager
    async def open(self, access: AccountAccess) -> AsyncIterator[ComposioClient]:
        """Give a client of the user's tools. Raises: AccountUnauthorised without a key."""
        settings: ComposioSettings = access.settings
        credentials: Any = access.credentials
        if credentials.api_key is None:
            raise AccountUnauthorised("The account has no API key.")
        async with self.network.client(read_s=READ_S) as http:
            yield ComposioClient(
                http,
                self.base("COMPOSIO_API_BASE"),
                key=credentials.api_key.get_secret_value(),
                user=settings.user_id,
                allowed=settings.allowed,
            )

    async def check(self, access: AccountAccess) -> str:
        """Return the user, and how many accounts are connected."""
        async with self.open(access) as client:
            count = len(await client.connections())
        return f"{access.settings.user_id} ({count} connected)"


KIND = Composio
