"""Issues, and comments on issues and pull requests."""

from __future__ import annotations

import contextlib
from typing import Any, Literal
from urllib.parse import quote

from pydantic import Field, model_validator

from services.adapters.accounts.github.client import Wanted
from services.domain.errors import ItemMissing
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.github.models import (
    Body,
    Comment,
    Label,
    ListInput,
    NextPage,
    NumberInput,
    Page,
    RepositoryInput,
    Title,
    Written,
    cut,
    labels_of,
    login_of,
    reading,
    writing,
)
from services.mcp_gateway.mcp_servers.tools import Tool, ToolOutput

_READ, _WRITE = {"issues": "read"}, {"issues": "write"}
_COMMENTS = 30


class ListIssuesInput(ListInput):
    labels: list[Label] = Field(
        default_factory=list, max_length=10, description="Only issues with all of these."
    )


class GetIssueInput(NumberInput):
    comments_page: Page = Field(default=1, description="`next_comments_page` of before; 30 comments a page.")


class CreateIssueInput(RepositoryInput):
    title: Title
    body: Body
    labels: list[Label] = Field(
        default_factory=list, max_length=20, description="Labels of the repository to begin with."
    )


class CommentInput(NumberInput):
    body: Body


class LabelsInput(NumberInput):
    add: list[Label] = Field(default_factory=list, max_length=20, description="Labels to add.")
    remove: list[Label] = Field(default_factory=list, max_length=20, description="Labels to take away.")

    @model_validator(mode="after")
    def _has_some(self) -> LabelsInput:
        if not self.add and not self.remove:
            raise ValueError("name at least one label in `add` or `remove`")
        return self


class StateInput(NumberInput):
    state: Literal["open", "closed"] = Field(description="What it is to be.")
    reason: Literal["completed", "not_planned"] = Field(
        default="completed", description="Why it is closed; of no matter when it is opened again."
    )


class IssueHead(ToolOutput):
    number: int = Field(description="Give it as `number`.")
    title: str = Field(description="The title, one line.")
    state: str = Field(description="`open` or `closed`.")
    author: str = Field(description="The login of who opened it.")
    labels: list[str] = Field(description="The names of its labels.")
    comments: int = Field(description="How many comments it has.")
    updated_at: str = Field(description="When it last changed, in UTC: 2026-07-01T10:00:00Z.")

    @classmethod
    def of(cls, found: dict[str, Any]) -> IssueHead:
        return cls(
            number=int(found["number"]),
            title=str(found["title"]),
            state=str(found["state"]),
            author=login_of(found),
            labels=labels_of(found),
            comments=int(found.get("comments", 0)),
            updated_at=str(found.get("updated_at", "")),
        )


class IssuesOutput(ToolOutput):
    issues: list[IssueHead] = Field(description="The newest first; a page may have fewer than `limit`.")
    next_page: NextPage


class IssueOutput(ToolOutput):
    issue: IssueHead = Field(description="Its title, state, author and labels.")
    body: str = Field(description="The text, in Markdown.")
    is_cut: bool = Field(description="Whether `body` was too long to be shown whole.")
    url: str = Field(description="Where people see it.")
    comments: list[Comment] = Field(description="Thirty at most, the oldest first.")
    next_comments_page: int | None = Field(
        description="Give it as `comments_page` for more; null when there are no more."
    )


class IssueWritten(ToolOutput):
    number: int = Field(description="The issue; give it as `number`.")
    state: str = Field(description="What it is now: `open` or `closed`.")
    url: str = Field(description="Where people see it.")


class LabelsOutput(ToolOutput):
    number: int = Field(description="The issue or pull request.")
    labels: list[str] = Field(description="The names of the labels that it has now.")


async def _list(caller: Caller, given: ListIssuesInput) -> IssuesOutput:
    params: dict[str, Any] = {"state": given.state, "per_page": given.limit, "page": given.page}
    if given.labels:
        params["labels"] = ",".join(given.labels)
    async with reading(caller, given) as github:
        answer = await github.ask(given.repository, Wanted(_READ, "GET", "/issues", params))
        # GitHub lists pull requests among the issues.
        issues = [IssueHead.of(each) for each in answer.body if "pull_request" not in each]
    return IssuesOutput(issues=issues, next_page=answer.next_page)


async def _get(caller: Caller, given: GetIssueInput) -> IssueOutput:
    path, params = f"/issues/{given.number}", {"per_page": _COMMENTS, "page": given.comments_page}
    async with reading(caller, given) as github:
        found = (await github.ask(given.repository, Wanted(_READ, "GET", path))).body
        said = await github.ask(given.repository, Wanted(_READ, "GET", f"{path}/comments", params))
        body, rest = cut(found.get("body"))
        return IssueOutput(
            issue=IssueHead.of(found),
            body=body,
            is_cut=rest is not None,
            url=str(found["html_url"]),
            comments=[Comment.of(each) for each in said.body],
            next_comments_page=said.next_page,
        )


async def _create(caller: Caller, given: CreateIssueInput) -> IssueWritten:
    new = {"title": given.title, "body": given.body, "labels": given.labels}
    async with writing(caller, given) as (github, _):
        made = (await github.ask(given.repository, Wanted(_WRITE, "POST", "/issues", json=new))).body
        return IssueWritten(number=int(made["number"]), state=str(made["state"]), url=str(made["html_url"]))


async def _comment(caller: Caller, given: CommentInput) -> Written:
    path = f"/issues/{given.number}/comments"
    async with writing(caller, given) as (github, _):
        asked = Wanted(_WRITE, "POST", path, json={"body": given.body})
        made = (await github.ask(given.repository, asked)).body
        return Written(id=int(made["id"]), url=str(made["html_url"]))


async def _label(caller: Caller, given: LabelsInput) -> LabelsOutput:
    path = f"/issues/{given.number}/labels"
    async with writing(caller, given) as (github, _):
        # One by one and not all anew: what somebody else adds meanwhile must not be lost.
        if given.add:
            await github.ask(given.repository, Wanted(_WRITE, "POST", path, json={"labels": given.add}))
        for label in given.remove:
            # What is not there is taken already.
            with contextlib.suppress(ItemMissing):
                await github.ask(
                    given.repository, Wanted(_WRITE, "DELETE", f"{path}/{quote(label, safe='')}")
                )
        now = (await github.ask(given.repository, Wanted(_READ, "GET", path, {"per_page": 100}))).body
        return LabelsOutput(number=given.number, labels=[str(label["name"]) for label in now])


async def _set_state(caller: Caller, given: StateInput) -> IssueWritten:
    change: dict[str, Any] = {"state": given.state}
    change["state_reason"] = given.reason if given.state == "closed" else "reopened"
    async with writing(caller, given) as (github, _):
        asked = Wanted(_WRITE, "PATCH", f"/issues/{given.number}", json=change)
        now = (await github.ask(given.repository, asked)).body
        return IssueWritten(number=int(now["number"]), state=str(now["state"]), url=str(now["html_url"]))


ISSUE_TOOLS = (
    Tool(
        "github_list_issues",
        "List a repository's issues, the newest first; pull requests have a list of their own.",
        ListIssuesInput,
        IssuesOutput,
        _list,
        reads_only=True,
        open_world=True,
    ),
    Tool(
        "github_get_issue",
        "Read an issue with its comments, thirty of them at a time.",
        GetIssueInput,
        IssueOutput,
        _get,
        reads_only=True,
        open_world=True,
    ),
    Tool(
        "github_create_issue",
        "Open an issue. Search first: it may be there already.",
        CreateIssueInput,
        IssueWritten,
        _create,
        open_world=True,
    ),
    Tool(
        "github_comment",
        "Comment on an issue or a pull request; those who follow it are told at once.",
        CommentInput,
        Written,
        _comment,
        open_world=True,
    ),
    Tool(
        "github_label",
        "Add labels to an issue or pull request and take labels from it, by name; one that is new is made.",
        LabelsInput,
        LabelsOutput,
        _label,
        open_world=True,
    ),
    Tool(
        "github_set_issue_state",
        "Close an issue, with the reason, or open it again.",
        StateInput,
        IssueWritten,
        _set_state,
        open_world=True,
    ),
)
