"""A mailbox over IMAP and SMTP as a kind of account: servers, a user name and a password."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from pydantic import Field, JsonValue, SecretStr, model_validator

from services.adapters.accounts.kind import AccountKind
from services.adapters.accounts.mail.client import MailClient
from services.adapters.mailbox.servers import HOST_PATTERN, Security, Server, SignIn
from services.domain.errors import AccountUnauthorised
from services.domain.ports.accounts import (
    AccountAccess,
    AccountAuth,
    AccountCredentials,
    AccountManifest,
    AccountSettings,
)
from services.kit.letters import is_address

_ONE_LINE = r"^[^\x00-\x1f\x7f]*$"
_BINDS: dict[str, JsonValue] = {"binds": True}


class MailSettings(AccountSettings):
    """Where the mailbox is, whose it is, and what agents may do. Both servers are reached over TLS only."""

    imap_host: str = Field(pattern=HOST_PATTERN, title="IMAP server", json_schema_extra=_BINDS)
    imap_port: int = Field(default=993, ge=1, le=65_535, title="Its port", json_schema_extra=_BINDS)
    imap_security: Security = Field(default="tls", title="Its security", json_schema_extra=_BINDS)
    smtp_host: str = Field(
        default="",
        pattern=rf"{HOST_PATTERN}|^$",
        title="SMTP server",
        description="Empty: agents draft, and nothing is sent.",
        json_schema_extra=_BINDS,
    )
    smtp_port: int = Field(default=465, ge=1, le=65_535, title="Its port", json_schema_extra=_BINDS)
    smtp_security: Security = Field(default="tls", title="Its security", json_schema_extra=_BINDS)
    user: str = Field(min_length=1, max_length=200, pattern=_ONE_LINE, title="User name")
    address: str = Field(max_length=320, title="Address", description="What mails are sent from.")
    display_name: str = Field(default="", max_length=100, pattern=_ONE_LINE, title="Name of the sender")
    may_send: bool = Field(
        default=True, title="May send", description="Without it agents read and draft, and send nothing."
    )

    @model_validator(mode="after")
    def _has_address(self) -> MailSettings:
        if not is_address(self.address) or "<" in self.address:
            raise ValueError("address: must be one mail address, without a name")
        return self


class MailCredentials(AccountCredentials):
    """The mailbox's password; an app password where the provider has those."""

    password: SecretStr | None = Field(default=None, max_length=500, title="Password")


class ImapMail(AccountKind):
    """Mailboxes on any server."""

    manifest: ClassVar = AccountManifest(
        kind="mail",
        label="Mail (IMAP and SMTP)",
        auth=AccountAuth.PASSWORD,
        help="Servers and ports stand in the provider's help; where it has app passwords, make one for Slipway.",
        source="https://www.rfc-editor.org/rfc/rfc3501",
    )
    settings_model: ClassVar = MailSettings
    credentials_model: ClassVar = MailCredentials

    def hosts(self, settings: MailSettings) -> tuple[str, ...]:
        """Return the servers for reading and for sending, of which there may be one."""
        return tuple(host for host in dict.fromkeys((settings.imap_host, settings.smtp_host)) if host)

    @contextlib.asynccontextmanager
    async def open(self, access: AccountAccess) -> AsyncIterator[MailClient]:
        """Give a client of the mailbox. Raises: AccountUnauthorised without a password."""
        settings: MailSettings = access.settings
        credentials: Any = access.credentials
        if credentials.password is None:
            raise AccountUnauthorised("The account has no password.")
        smtp = None
        if settings.smtp_host:
            smtp = Server(settings.smtp_host, settings.smtp_port, settings.smtp_security)
        yield MailClient(
            self.network,
            Server(settings.imap_host, settings.imap_port, settings.imap_security),
            smtp,
            SignIn(settings.user, credentials.password, settings.address, settings.display_name),
        )

    async def check(self, access: AccountAccess) -> str:
        """Sign in, and return the mailbox's address."""
        async with self.open(access) as client:
            await client.folders()
        return str(access.settings.address)


KIND = ImapMail
