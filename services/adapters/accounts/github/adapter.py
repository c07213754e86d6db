"""GitHub as a kind of account: an app, its installation, and the repositories that agents may use."""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import AsyncIterator
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator

from services.adapters.accounts.github.client import READ_S, GithubClient, Remembered
from services.adapters.accounts.github.failures import failure_of_token
from services.adapters.accounts.github.tokens import TokenBroker, app_token
from services.adapters.accounts.kind import AccountKind
from services.adapters.github_app import APP_ID, MAX_KEY_CHARS, VERSION_HEADERS, checked_key
from services.adapters.upstreams.network import Network
from services.domain.errors import AccountRefused
from services.domain.ports.accounts import (
    AccountAccess,
    AccountAuth,
    AccountCredentials,
    AccountManifest,
    AccountSettings,
    Installation,
)

REPOSITORY = r"^[A-Za-z0-9-]{1,39}/(?!\.{1,2}$)[A-Za-z0-9_.-]{1,100}$"

Repository = Annotated[str, StringConstraints(max_length=140), AfterValidator(lambda name: _checked(name))]


def _checked(name: str) -> str:
    if not re.fullmatch(REPOSITORY, name):
        raise ValueError("must be owner/name")
    return name


class GithubSettings(AccountSettings):
    """The app, where it is installed, and what agents may use of it."""

    app_id: str = Field(pattern=APP_ID, title="App", description="The GitHub App's client ID, or its number.")
    installation_id: int = Field(
        ge=1,
        le=10**15,
        title="Installation",
        description="The number at the end of the installation's address.",
    )
    repositories: list[Repository] = Field(
        min_length=1, max_length=200, description="Those that agents may use, owner/name, one a line."
    )
    agent_repositories: dict[uuid.UUID, list[Repository]] = Field(
        default_factory=dict,
        max_length=1_000,
        description="For single agents fewer of them, by the agent's id.",
        json_schema_extra={"is_hidden": True},
    )
    may_write: bool = Field(
        default=True, title="May write", description="Without it agents read, and change nothing."
    )
    may_merge: bool = Field(
        default=False, title="May merge", description="Whether agents may merge pull requests."
    )

    @model_validator(mode="after")
    def _are_known(self) -> Self:
        known = {name.lower() for name in self.repositories}
        if any(name.lower() not in known for names in self.agent_repositories.values() for name in names):
            raise ValueError("agent_repositories: an agent's repositories must be among `repositories`")
        return self

    def repositories_of(self, agent_id: uuid.UUID | None) -> list[str]:
        """Return the repositories that an agent may use, or without one a person's own program.

        That one gets none where single agents are limited: nobody has said what it should have.
        """
        if agent_id is None:
            return [] if self.agent_repositories else list(self.repositories)
        return list(self.agent_repositories.get(agent_id, self.repositories))


class GithubCredentials(AccountCredentials):
    """What the app signs with. It never leaves the gateway: GitHub sees signatures only."""

    private_key: Annotated[SecretStr, AfterValidator(checked_key)] = Field(
        max_length=MAX_KEY_CHARS,
        title="Private key",
        description="The PEM file that GitHub gave for the app.",
        json_schema_extra={"is_long": True},
    )


class Github(AccountKind):
    """Repositories at GitHub, through an app."""

    manifest: ClassVar = AccountManifest(
        kind="github",
        label="GitHub",
        auth=AccountAuth.APP,
        help=(
            "Make a GitHub App with the rights to contents, issues and pull requests, install it for the repositories, "
            "and give its private key here. Agents get neither the key nor a token."
        ),
        source="https://docs.github.com/en/apps/creating-github-apps",
    )
    settings_model: ClassVar = GithubSettings
    credentials_model: ClassVar = GithubCredentials
    endpoints: ClassVar = {"GITHUB_API_BASE": "https://api.github.com"}

    def __init__(self, network: Network, installation: Installation) -> None:
        super().__init__(network, installation)
        self._base = self.base("GITHUB_API_BASE")
        self._broker = TokenBroker(self._base)
        self._remembered = Remembered()

    @contextlib.asynccontextmanager
    async def open(self, access: AccountAccess) -> AsyncIterator[GithubClient]:
        """Give a client of the repositories."""
        async with self.network.client(read_s=READ_S) as http:
            yield GithubClient(http, self._base, access, self._broker, self._remembered)

    async def check(self, access: AccountAccess) -> str:
        """Return the app's name and where it is installed."""
        url = f"{self._base}/app/installations/{access.settings.installation_id}"
        headers = {**VERSION_HEADERS, "Authorization": f"Bearer {app_token(access)}"}
        async with self.network.client(read_s=READ_S) as http:
            answer = await http.get(url, headers=headers)
        if not answer.is_success:
            raise failure_of_token(answer, "the installation", {})
        try:
            found = answer.json()
            return f"{found['app_slug']} at {found['account']['login']}"
        except (ValueError, KeyError, TypeError) as error:
            raise AccountRefused("GitHub's answer is not to be understood.") from error


KIND = Github
