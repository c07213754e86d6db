"""A CalDAV server as a kind of account: its address, a user name and a password."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, ClassVar
from urllib.parse import urlsplit

import httpx2
from pydantic import Field, JsonValue, SecretStr

from services.adapters.accounts.calendar.client import READ_S, CalendarClient
from services.adapters.accounts.kind import AccountKind
from services.domain.errors import AccountUnauthorised
from services.domain.ports.accounts import (
    AccountAccess,
    AccountAuth,
    AccountCredentials,
    AccountManifest,
    AccountSettings,
)

_BINDS: dict[str, JsonValue] = {"binds": True}


class CalendarSettings(AccountSettings):
    """Where the calendars are, whose they are, and what agents may do."""

    url: str = Field(
        max_length=500,
        pattern=r"^https?://[A-Za-z0-9.:\[\]-]+(/[\x21-\x7e]*)?$",
        title="CalDAV address",
        description="https://caldav.example.com/, or the address that the provider's help gives.",
        json_schema_extra=_BINDS,
    )
    user: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f:]*$", title="User name")
    address: str = Field(
        default="",
        max_length=320,
        pattern=r"^([^\s<>@]+@[^\s<>@]+)?$",
        title="Your mail address",
        description="Who stands as the organizer when agents invite people.",
    )
    may_write: bool = Field(
        default=True, title="May write", description="Without it agents read, and change nothing."
    )


class CalendarCredentials(AccountCredentials):
    """The account's password; an app password where the provider has those."""

    password: SecretStr | None = Field(default=None, max_length=500, title="Password")


class CalDav(AccountKind):
    """Calendars on any CalDAV server."""

    manifest: ClassVar = AccountManifest(
        kind="calendar",
        label="Calendar (CalDAV)",
        auth=AccountAuth.PASSWORD,
        help="The address stands in the provider's help; where it has app passwords, make one for Slipway.",
        source="https://www.rfc-editor.org/rfc/rfc4791",
    )
    settings_model: ClassVar = CalendarSettings
    credentials_model: ClassVar = CalendarCredentials

    def hosts(self, settings: CalendarSettings) -> tuple[str, ...]:
        """Return the server of the calendars."""
        return (urlsplit(settings.url).hostname or "",)

    @contextlib.asynccontextmanager
    async def open(self, access: AccountAccess) -> AsyncIterator[CalendarClient]:
        """Give a client of the calendars. Raises: AccountUnauthorised without a password."""
        settings: CalendarSettings = access.settings
        credentials: Any = access.credentials
        if credentials.password is None:
            raise AccountUnauthorised("The account has no password.")
        auth = httpx2.BasicAuth(settings.user, credentials.password.get_secret_value())
        async with self.network.client(read_s=READ_S, auth=auth) as http:
            yield CalendarClient(http, settings.url, address=settings.address)

    async def check(self, access: AccountAccess) -> str:
        """Return the names of the calendars."""
        async with self.open(access) as client:
            return ", ".join(calendar.name for calendar in await client.calendars())[:200]


KIND = CalDav
