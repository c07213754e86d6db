"""Repositories, their files, and searching in them."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import AfterValidator, Field, StringConstraints

from services.adapters.accounts.github.client import Wanted
from services.domain.errors import ItemMissing
from services.mcp_gateway.accounts import open_account
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.github.models import (
    KIND,
    Account,
    Branch,
    Limit,
    NextPage,
    NextStart,
    Page,
    RepositoryInput,
    cut,
    labels_of,
    login_of,
    reading,
)
from services.mcp_gateway.mcp_servers.tools import Tool, ToolInput, ToolOutput

_ELSEWHERE = re.compile(r"(?<![A-Za-z0-9_])(repo|org|user|owner):", re.IGNORECASE)
_CONTENTS = {"contents": "read"}


def _inside(path: str) -> str:
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError("must be a path inside the repository, such as src/main.py")
    return path


def _here(query: str) -> str:
    if _ELSEWHERE.search(query):
        raise ValueError(
            "give the repository as `repository`, not in the query; leave out repo:, org: and user:"
        )
    return query


class AccountInput(ToolInput):
    account: Account = None


class RepositoriesOutput(ToolOutput):
    account: str = Field(description="The account that answered; give it as `account`.")
    repositories: list[str] = Field(description="Each as owner/name; give one as `repository`.")
    may_write: bool = Field(
        description="Whether you may change anything there: issues, comments, pull requests."
    )
    may_merge: bool = Field(description="Whether you may merge pull requests.")


class RepositoryOutput(ToolOutput):
    repository: str = Field(description="Its owner/name.")
    description: str = Field(description="What it is, in its owner's words; may be empty.")
    default_branch: str = Field(description="The branch that is meant where none is named.")
    is_private: bool = Field(description="Whether only those who are let in see it.")
    is_archived: bool = Field(description="Whether it can only be read.")
    open_issues: int = Field(description="How many issues and pull requests are open.")
    url: str = Field(description="Where people see it.")


class ReadFileInput(RepositoryInput):
    path: Annotated[str, StringConstraints(min_length=1, max_length=1_000), AfterValidator(_inside)] = Field(
        description="The file or folder, from the root."
    )
    ref: Branch | None = Field(
        default=None, description="Branch, tag or commit; leave out for the default branch."
    )
    start: int = Field(default=0, ge=0, le=10_000_000, description="`next_start` of the part before.")


class FileOutput(ToolOutput):
    path: str = Field(description="The file that was read.")
    sha: str = Field(description="The id of this content: another content has another one.")
    size_bytes: int = Field(description="The size of the whole file in bytes.")
    text: str = Field(description="The text, or the part from `start` on.")
    next_start: NextStart


class SearchInput(RepositoryInput):
    query: Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_here)] = Field(
        description="GitHub's own search, without the repository: `is:issue is:open crash`, `path:src TODO`."
    )
    limit: Limit = 20
    page: Page = 1


class FoundIssue(ToolOutput):
    number: int = Field(description="Give it as `number`.")
    title: str = Field(description="The title, one line.")
    state: str = Field(description="`open` or `closed`.")
    is_pull_request: bool = Field(
        description="Whether it is a pull request: read it with `github_get_pull_request`."
    )
    author: str = Field(description="The login of who opened it.")
    labels: list[str] = Field(description="The names of its labels.")


class FoundIssues(ToolOutput):
    total: int = Field(description="How many match in all.")
    issues: list[FoundIssue] = Field(description="Issues and pull requests, the best match first.")
    next_page: NextPage


class FoundFile(ToolOutput):
    path: str = Field(description="Give it to `github_read_file`.")
    sha: str = Field(description="The id of the file's content.")


class FoundFiles(ToolOutput):
    total: int = Field(description="How many match in all.")
    files: list[FoundFile] = Field(description="The best match first.")
    next_page: NextPage


async def _list(caller: Caller, given: AccountInput) -> RepositoriesOutput:
    async with open_account(caller, KIND, given.account) as account:
        return RepositoriesOutput(
            account=account.name,
            repositories=account.client.repositories,
            may_write=account.settings.may_write,
            may_merge=account.settings.may_write and account.settings.may_merge,
        )


async def _get(caller: Caller, given: RepositoryInput) -> RepositoryOutput:
    async with reading(caller, given) as github:
        found = (await github.ask(given.repository, Wanted({"metadata": "read"}, "GET", ""))).body
        return RepositoryOutput(
            repository=str(found["full_name"]),
            description=str(found.get("description") or ""),
            default_branch=str(found["default_branch"]),
            is_private=bool(found["private"]),
            is_archived=bool(found.get("archived")),
            open_issues=int(found.get("open_issues_count", 0)),
            url=str(found["html_url"]),
        )


async def _read_file(caller: Caller, given: ReadFileInput) -> FileOutput:
    async with reading(caller, given) as github:
        path = f"/contents/{quote(given.path)}"
        params = {"ref": given.ref} if given.ref else None
        found: Any = (await github.ask(given.repository, Wanted(_CONTENTS, "GET", path, params))).body
        if not isinstance(found, dict) or found.get("type") != "file" or found.get("encoding") != "base64":
            raise ItemMissing(
                "This is a folder, a link, or a file of more than 1 MB; only files up to that are read."
            )
        text, next_start = cut(_decoded(str(found["content"])), given.start)
        return FileOutput(
            path=given.path,
            sha=str(found["sha"]),
            size_bytes=int(found["size"]),
            text=text,
            next_start=next_start,
        )


async def _search_issues(caller: Caller, given: SearchInput) -> FoundIssues:
    async with reading(caller, given) as github:
        rights = {"issues": "read", "pull_requests": "read"}
        answer = await github.search(given.repository, "issues", _search(given, rights))
        return FoundIssues(
            total=int(answer.body["total_count"]),
            issues=[
                FoundIssue(
                    number=int(each["number"]),
                    title=str(each["title"]),
                    state=str(each["state"]),
                    is_pull_request="pull_request" in each,
                    author=login_of(each),
                    labels=labels_of(each),
                )
                for each in answer.body["items"]
            ],
            next_page=answer.next_page,
        )


async def _search_code(caller: Caller, given: SearchInput) -> FoundFiles:
    async with reading(caller, given) as github:
        answer = await github.search(given.repository, "code", _search(given, _CONTENTS))
        return FoundFiles(
            total=int(answer.body["total_count"]),
            files=[FoundFile(path=str(each["path"]), sha=str(each["sha"])) for each in answer.body["items"]],
            next_page=answer.next_page,
        )


def _search(given: SearchInput, rights: dict[str, str]) -> Wanted:
    query = f"{given.query} repo:{given.repository}"
    return Wanted(rights, "GET", "", {"q": query, "per_page": given.limit, "page": given.page})


def _decoded(content: str) -> str:
    try:
        return base64.b64decode(content).decode("utf-8")
    except (binascii.Error, ValueError) as error:
        raise ItemMissing("The file is not a text.") from error


REPOSITORY_TOOLS = (
    Tool(
        "github_list_repositories",
        "List the repositories that you may use in a connected GitHub account, and whether you may write and merge.",
        AccountInput,
        RepositoriesOutput,
        _list,
        reads_only=True,
        open_world=True,
    ),
    Tool(
        "github_get_repository",
        "Show a repository: its description, default branch, and how many issues are open.",
        RepositoryInput,
        RepositoryOutput,
        _get,
        reads_only=True,
        open_world=True,
    ),
    Tool(
        "github_read_file",
        "Read a text file of a repository, up to 1 MB. A long one comes in parts: go on with `next_start`.",
        ReadFileInput,
        FileOutput,
        _read_file,
        reads_only=True,
        open_world=True,
    ),
    Tool(
        "github_search_issues",
        "Search the issues and pull requests of one repository, in GitHub's own search language.",
        SearchInput,
        FoundIssues,
        _search_issues,
        reads_only=True,
        open_world=True,
    ),
    Tool(
        "github_search_code",
        "Search the code of one repository's default branch; gives paths, which `github_read_file` reads.",
        SearchInput,
        FoundFiles,
        _search_code,
        reads_only=True,
        open_world=True,
    ),
)
