"""What the GitHub tools share of what they take and give."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from services.adapters.accounts.github.adapter import REPOSITORY, GithubSettings
from services.adapters.accounts.github.client import GithubClient
from services.domain.errors import AccountDenied, AccountRefused
from services.mcp_gateway.accounts import open_account
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.tools import ToolInput, ToolOutput

KIND = "github"
MAX_TEXT_CHARS = 20_000
MAX_BODY_CHARS = 60_000

Account = Annotated[
    str | None,
    Field(
        max_length=80, description="Which connected account, by its name. Leave out where there is only one."
    ),
]
Repository = Annotated[
    str,
    StringConstraints(max_length=140, pattern=REPOSITORY.replace(r"(?!\.{1,2}$)", "")),
    Field(description="owner/name, one of those that `github_list_repositories` names."),
]
Number = Annotated[int, Field(ge=1, le=10**9, description="The number of the issue or pull request.")]
Page = Annotated[int, Field(ge=1, le=1_000, description="`next_page` of the page before.")]
Limit = Annotated[int, Field(ge=1, le=100, description="The most to return in a page.")]
Body = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_BODY_CHARS),
    Field(description="The text, in Markdown."),
]
Title = Annotated[
    str, StringConstraints(min_length=1, max_length=256), Field(description="The title, one line.")
]
NextPage = Annotated[
    int | None, Field(description="Give it as `page` for more; null when there are no more.")
]
NextStart = Annotated[
    int | None,
    Field(description="Give it as `start` for the rest of the text; null when this is all."),
]
Label = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Branch = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\s~^:?*\[\\]+$")]
State = Annotated[Literal["open", "closed", "all"], Field(description="Which of them.")]


class RepositoryInput(ToolInput):
    repository: Repository
    account: Account = None


class NumberInput(RepositoryInput):
    number: Number


class ListInput(RepositoryInput):
    state: State = "open"
    limit: Limit = 30
    page: Page = 1


class Comment(ToolOutput):
    id: int = Field(description="Its id at GitHub.")
    author: str = Field(description="The login of who wrote it; `ghost` for who has left.")
    at: str = Field(description="When, in UTC: 2026-07-01T10:00:00Z.")
    body: str = Field(
        description="Its Markdown; a review's begins with what it came to, such as `[APPROVED]`."
    )
    is_cut: bool = Field(description="Whether the text was too long to be shown whole.")

    @classmethod
    def of(cls, found: dict[str, Any]) -> Comment:
        text = str(found.get("body") or "")
        return cls(
            id=int(found["id"]),
            author=login_of(found),
            at=str(found.get("created_at") or found.get("submitted_at") or ""),
            body=text[:MAX_TEXT_CHARS],
            is_cut=len(text) > MAX_TEXT_CHARS,
        )


class Written(ToolOutput):
    id: int = Field(description="Its id at GitHub.")
    url: str = Field(description="Where people see it.")


@contextlib.asynccontextmanager
async def reading(caller: Caller, given: RepositoryInput) -> AsyncIterator[GithubClient]:
    """Open the account that a call means."""
    async with open_account(caller, KIND, given.account) as account:
        client: GithubClient = account.client
        try:
            yield client
        except (KeyError, TypeError, ValueError) as error:
            raise AccountRefused("GitHub's answer is not to be understood.") from error


@contextlib.asynccontextmanager
async def writing(
    caller: Caller, given: RepositoryInput
) -> AsyncIterator[tuple[GithubClient, GithubSettings]]:
    """Open the account that a call means, to change something there. Raises: AccountDenied."""
    async with open_account(caller, KIND, given.account) as account:
        settings: GithubSettings = account.settings
        if not settings.may_write:
            raise AccountDenied(f"The account {account.name} is set to reading. A person can change that.")
        client: GithubClient = account.client
        try:
            yield client, settings
        except (KeyError, TypeError, ValueError) as error:
            raise AccountRefused("GitHub's answer is not to be understood.") from error


def login_of(found: dict[str, Any]) -> str:
    """Return who wrote something; GitHub forgets those who left."""
    return str((found.get("user") or {}).get("login", "ghost"))


def labels_of(found: dict[str, Any]) -> list[str]:
    """Return the names of the labels of an issue or pull request."""
    return [str(label["name"]) for label in found.get("labels") or ()]


def cut(text: str | None, start: int = 0) -> tuple[str, int | None]:
    """Return a part of a text, and where the next begins."""
    whole = text or ""
    part = whole[start : start + MAX_TEXT_CHARS]
    end = start + len(part)
    return part, end if end < len(whole) else None
