"""Teller as a kind of account: a client certificate, and an access token for each bank that a person enrolled."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import ClassVar

from pydantic import Field, SecretStr

from services.adapters.accounts.kind import AccountKind
from services.adapters.accounts.teller.client import READ_S, TellerClient
from services.domain.errors import AccountUnauthorised
from services.domain.ports.accounts import (
    AccountAccess,
    AccountAuth,
    AccountCredentials,
    AccountManifest,
    AccountSettings,
)

MAX_ENROLLMENTS = 10


class TellerSettings(AccountSettings):
    """What agents may see."""

    shows_numbers: bool = Field(
        default=False,
        title="Show account numbers",
        description="Without it agents see the last four digits of account numbers.",
    )


class TellerCredentials(AccountCredentials):
    """The application's certificate, and the access tokens of a person's enrollments."""

    certificate: SecretStr | None = Field(
        default=None,
        max_length=20_000,
        title="Client certificate",
        description="PEM, from Teller's dashboard.",
        json_schema_extra={"is_long": True},
    )
    private_key: SecretStr | None = Field(
        default=None,
        max_length=20_000,
        title="Its private key",
        description="PEM, without a passphrase.",
        json_schema_extra={"is_long": True},
    )
    access_tokens: SecretStr | None = Field(
        default=None,
        max_length=4_000,
        title="Access tokens",
        description="One for each enrolled bank, separated by spaces or lines.",
        json_schema_extra={"is_long": True},
    )

    @property
    def tokens(self) -> list[str]:
        """Return the access tokens."""
        given = self.access_tokens.get_secret_value() if self.access_tokens else ""
        return given.split()[:MAX_ENROLLMENTS]


class Teller(AccountKind):
    """Bank accounts behind Teller, read only."""

    manifest: ClassVar = AccountManifest(
        kind="teller",
        label="Teller (banks)",
        auth=AccountAuth.MTLS,
        help=(
            "Download the client certificate of your application from Teller's dashboard, and enroll your banks with "
            "Teller Connect: each enrollment gives an access token."
        ),
        source="https://teller.io/docs/api",
    )
    settings_model: ClassVar = TellerSettings
    credentials_model: ClassVar = TellerCredentials
    endpoints: ClassVar = {"TELLER_API_BASE": "https://api.teller.io"}

    @contextlib.asynccontextmanager
    async def open(self, access: AccountAccess) -> AsyncIterator[TellerClient]:
        """Give a client of the person's banks. Raises: AccountUnauthorised without a usable certificate or token."""
        credentials: TellerCredentials = access.credentials
        if not credentials.tokens:
            raise AccountUnauthorised("The account has no access token.")
        network = dataclasses.replace(self.network, tls=_tls_of(credentials))
        async with network.client(read_s=READ_S) as http:
            yield TellerClient(http, self.base("TELLER_API_BASE"), credentials.tokens)

    async def check(self, access: AccountAccess) -> str:
        """Return the names of the banks."""
        async with self.open(access) as client:
            banks = dict.fromkeys(account.institution for account in await client.accounts())
        return ", ".join(banks)[:200]


def _tls_of(credentials: TellerCredentials) -> ssl.SSLContext:
    """Return the system's trust with the client's certificate. Raises: AccountUnauthorised."""
    if credentials.certificate is None or credentials.private_key is None:
        raise AccountUnauthorised("The account has no client certificate, or not its key.")
    context = ssl.create_default_context()
    try:
        with (
            _in_memory(credentials.certificate) as certificate,
            _in_memory(credentials.private_key) as private_key,
        ):
            # An encrypted key would make OpenSSL ask at a terminal.
            context.load_cert_chain(certificate, private_key, password=lambda: b"")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise AccountUnauthorised("The client certificate and its key do not fit together.") from error
    return context


@contextlib.contextmanager
def _in_memory(text: SecretStr) -> Iterator[str]:
    """Give a path under which a text can be read, without any disk: OpenSSL takes files only."""
    file = os.memfd_create("account")
    try:
        os.write(file, text.get_secret_value().encode())
        yield f"/proc/self/fd/{file}"
    finally:
        os.close(file)


KIND = Teller
