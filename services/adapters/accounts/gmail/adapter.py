"""Gmail as a kind of account: connected by OAuth, revoked at Google when it is removed."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import ClassVar

from pydantic import Field, SecretStr

from services.adapters.accounts.gmail.client import READ_S, GmailClient
from services.adapters.accounts.kind import AccountKind, BearerToken
from services.domain.errors import AccountAway, AccountRefused, Conflict
from services.domain.ports.accounts import (
    AccountAccess,
    AccountAuth,
    AccountCredentials,
    AccountManifest,
    AccountSettings,
    OAuthApp,
)
from services.domain.ports.upstreams import AuthorizationPlan, OAuthClient, OAuthGrant, OAuthServer

# Reading, labels, drafts and sending; nothing is ever deleted for good.
SCOPE = "https://www.googleapis.com/auth/gmail.modify"
_REVOKE_S = 10.0


class GmailSettings(AccountSettings):
    """An OAuth client of one's own, and what agents may do."""

    client_id: str = Field(
        default="",
        max_length=200,
        pattern=r"^[\x21-\x7e]*$",
        title="OAuth client",
        description="Empty for the installation's own Google client.",
        json_schema_extra={"binds": True},
    )
    may_send: bool = Field(
        default=True,
        title="May send",
        description="Without it agents read, label and draft, and send nothing.",
    )


class GmailCredentials(AccountCredentials):
    """The secret of an OAuth client of one's own."""

    client_secret: SecretStr | None = Field(
        default=None,
        max_length=500,
        title="OAuth client's secret",
        description="Only with an OAuth client of your own.",
    )


class Gmail(AccountKind):
    """Mailboxes at Google."""

    manifest: ClassVar = AccountManifest(
        kind="gmail",
        label="Gmail",
        auth=AccountAuth.OAUTH,
        help=(
            "After it is added, press Connect and allow the access at Google. With an OAuth client of your own, "
            "register this installation's callback address with it."
        ),
        source="https://developers.google.com/identity/protocols/oauth2/web-server",
        revokes=True,
    )
    settings_model: ClassVar = GmailSettings
    credentials_model: ClassVar = GmailCredentials
    endpoints: ClassVar = {
        "GMAIL_API_BASE": "https://gmail.googleapis.com",
        "GOOGLE_ACCOUNTS_BASE": "https://accounts.google.com",
        "GOOGLE_OAUTH_BASE": "https://oauth2.googleapis.com",
    }

    @contextlib.asynccontextmanager
    async def open(self, access: AccountAccess) -> AsyncIterator[GmailClient]:
        """Give a client of the mailbox."""
        auth = BearerToken(access.tokens, self.network)
        async with self.network.client(read_s=READ_S, auth=auth) as http:
            yield GmailClient(http, self.base("GMAIL_API_BASE"), access.settings)

    async def check(self, access: AccountAccess) -> str:
        """Return the mailbox's address."""
        async with self.open(access) as client:
            return await client.address()

    def plan(
        self, settings: GmailSettings, credentials: GmailCredentials, redirect_uri: str
    ) -> AuthorizationPlan:
        """Send a person to Google. Raises: Conflict when there is no OAuth client."""
        app = self._app(settings, credentials)
        accounts = self.base("GOOGLE_ACCOUNTS_BASE")
        secret = app.client_secret.get_secret_value() if app.client_secret is not None else None
        return AuthorizationPlan(
            server_url=accounts,
            server=OAuthServer(
                issuer=accounts,
                # Both are needed for a refresh token each time that somebody connects.
                authorization_endpoint=f"{accounts}/o/oauth2/v2/auth?access_type=offline&prompt=consent",
                token_endpoint=f"{self.base('GOOGLE_OAUTH_BASE')}/token",
                resource="",
                scope=SCOPE,
            ),
            client=OAuthClient(
                client_id=app.client_id,
                client_secret=secret,
                auth_method="client_secret_post" if secret is not None else "none",
            ),
            redirect_uri=redirect_uri,
            verifier=secrets.token_urlsafe(64),
        )

    async def revoke(self, access: AccountAccess, grant: OAuthGrant | None) -> None:
        """End the grant at Google, with all its tokens. Raises: AccountAway, AccountRefused."""
        if grant is None:
            return
        token = grant.refresh_token or grant.access_token
        try:
            async with asyncio.timeout(_REVOKE_S), self.network.client(read_s=_REVOKE_S) as http:
                answer = await http.post(f"{self.base('GOOGLE_OAUTH_BASE')}/revoke", data={"token": token})
        except TimeoutError as error:
            raise AccountAway("Google does not answer in time.") from error
        # 400 says that the token is over already, and that is what was wanted.
        if answer.status_code not in (200, 400):
            raise AccountRefused("Google did not take the access back.")

    def _app(self, settings: GmailSettings, credentials: GmailCredentials) -> OAuthApp:
        if settings.client_id:
            return OAuthApp(settings.client_id, credentials.client_secret)
        own = self.installation.oauth_apps.get("google")
        if own is None:
            raise Conflict(
                "The installation has no Google OAuth client. Give one with the account's settings."
            )
        return own


KIND = Gmail
