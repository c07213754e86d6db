"""Pull requests: listed, read, opened, reviewed, merged."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from services.adapters.accounts.github.client import Wanted
from services.domain.errors import AccountDenied
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.github.models import (
    MAX_BODY_CHARS,
    Body,
    Branch,
    Comment,
    Limit,
    ListInput,
    NextPage,
    NextStart,
    NumberInput,
    Page,
    RepositoryInput,
    Title,
    Written,
    cut,
    login_of,
    reading,
    writing,
)
from services.mcp_gateway.mcp_servers.tools import Tool, ToolInput, ToolOutput

_READ, _WRITE = {"pull_requests": "read"}, {"pull_requests": "write"}
_MERGE = {"contents": "write", "pull_requests": "write"}
_PATCH_CHARS = 4_000

Sha = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40,64}$")]


class DiffInput(NumberInput):
    start: int = Field(default=0, ge=0, le=50_000_000, description="`next_start` of the part before.")


class FilesInput(NumberInput):
    limit: Limit = 30
    page: Page = 1


class CreatePullInput(RepositoryInput):
    title: Title
    head: Branch = Field(description="The branch with the changes. It must be at GitHub already.")
    base: Branch = Field(description="The branch that the changes are to go into.")
    body: str = Field(
        default="", max_length=MAX_BODY_CHARS, description="What it changes and why, in Markdown."
    )
    is_draft: bool = Field(default=False, description="Whether it is not yet to be reviewed.")


class LineComment(ToolInput):
    path: str = Field(min_length=1, max_length=1_000, description="The file, from the root.")
    line: int = Field(ge=1, le=10**7, description="The line in the file, as the difference shows it.")
    side: Literal["LEFT", "RIGHT"] = Field(
        default="RIGHT", description="`LEFT` for a line that was taken out."
    )
    body: Body


class ReviewInput(NumberInput):
    event: Literal["COMMENT", "APPROVE", "REQUEST_CHANGES"] = Field(description="What the review comes to.")
    body: str = Field(default="", max_length=MAX_BODY_CHARS, description="Needed unless you approve.")
    comments: list[LineComment] = Field(
        default_factory=list, max_length=50, description="Remarks at lines of the change."
    )

    @model_validator(mode="after")
    def _says_something(self) -> ReviewInput:
        if self.event != "APPROVE" and not self.body.strip():
            raise ValueError("give a `body`: only an approval goes without")
        return self


class MergeInput(NumberInput):
    head_sha: Sha = Field(
        description="The `head_sha` that you read: with another commit on top nothing is merged."
    )
    method: Literal["merge", "squash", "rebase"] = Field(default="merge", description="How to merge.")


class PullHead(ToolOutput):
    number: int = Field(description="Give it as `number`.")
    title: str = Field(description="The title, one line.")
    state: str = Field(description="`open`, `closed` or `merged`.")
    is_draft: bool = Field(description="Whether it is not yet to be reviewed.")
    author: str = Field(description="The login of who opened it.")
    head: str = Field(description="The branch with the changes.")
    base: str = Field(description="The branch that they are to go into.")
    head_sha: str = Field(description="The newest commit of `head`; merging asks for it.")
    updated_at: str = Field(description="When it last changed, in UTC: 2026-07-01T10:00:00Z.")

    @classmethod
    def of(cls, found: dict[str, Any]) -> PullHead:
        return cls(
            number=int(found["number"]),
            title=str(found["title"]),
            state="merged" if found.get("merged_at") else str(found["state"]),
            is_draft=bool(found.get("draft")),
            author=login_of(found),
            head=str(found["head"]["ref"]),
            base=str(found["base"]["ref"]),
            head_sha=str(found["head"]["sha"]),
            updated_at=str(found.get("updated_at", "")),
        )


class PullsOutput(ToolOutput):
    pull_requests: list[PullHead] = Field(description="The newest first.")
    next_page: NextPage


class PullOutput(ToolOutput):
    pull_request: PullHead = Field(description="Its title, state, author and branches.")
    body: str = Field(description="The text, in Markdown.")
    is_cut: bool = Field(description="Whether `body` was too long to be shown whole.")
    is_mergeable: bool | None = Field(description="Null while GitHub does not know yet.")
    url: str = Field(description="Where people see it.")
    additions: int = Field(description="How many lines it adds.")
    deletions: int = Field(description="How many lines it takes out.")
    changed_files: int = Field(description="How many files it changes.")
    reviews: list[Comment] = Field(description="The newest thirty at most.")


class DiffOutput(ToolOutput):
    diff: str = Field(description="The difference in unified form, or the part from `start` on.")
    next_start: NextStart


class ChangedFile(ToolOutput):
    path: str = Field(description="The file, from the root.")
    status: str = Field(description="Such as `added`, `modified`, `removed` or `renamed`.")
    additions: int = Field(description="How many lines are added.")
    deletions: int = Field(description="How many lines are taken out.")
    patch: str = Field(
        description="The difference in unified form; empty where GitHub gives none, as for binary files."
    )
    is_cut: bool = Field(
        description="Whether the patch was too long; `github_get_pull_request_diff` has it all."
    )


class FilesOutput(ToolOutput):
    files: list[ChangedFile] = Field(description="The files of this page.")
    next_page: NextPage


class PullWritten(ToolOutput):
    number: int = Field(description="The pull request; give it as `number`.")
    url: str = Field(description="Where people see it.")


class Merged(ToolOutput):
    number: int = Field(description="The pull request.")
    sha: str = Field(description="The commit that the merge made.")
    is_merged: bool = Field(description="Whether it is merged now.")


async def _list(caller: Caller, given: ListInput) -> PullsOutput:
    params = {"state": given.state, "per_page": given.limit, "page": given.page}
    async with reading(caller, given) as github:
        answer = await github.ask(given.repository, Wanted(_READ, "GET", "/pulls", params))
        return PullsOutput(
            pull_requests=[PullHead.of(each) for each in answer.body], next_page=answer.next_page
        )


async def _get(caller: Caller, given: NumberInput) -> PullOutput:
    path = f"/pulls/{given.number}"
    async with reading(caller, given) as github:
        found = (await github.ask(given.repository, Wanted(_READ, "GET", path))).body
        wanted = Wanted(_READ, "GET", f"{path}/reviews", {"per_page": 100})
        reviews = (await github.ask(given.repository, wanted)).body
        body, rest = cut(found.get("body"))
        return PullOutput(
            pull_request=PullHead.of(found),
            body=body,
            is_cut=rest is not None,
            is_mergeable=found.get("mergeable"),
            url=str(found["html_url"]),
            additions=int(found["additions"]),
            deletions=int(found["deletions"]),
            changed_files=int(found["changed_files"]),
            reviews=[_review_of(each) for each in reviews[-30:]],
        )


async def _diff(caller: Caller, given: DiffInput) -> DiffOutput:
    async with reading(caller, given) as github:
        text, next_start = cut(await github.diff(given.repository, given.number), given.start)
    return DiffOutput(diff=text, next_start=next_start)


async def _files(caller: Caller, given: FilesInput) -> FilesOutput:
    params = {"per_page": given.limit, "page": given.page}
    async with reading(caller, given) as github:
        wanted = Wanted(_READ, "GET", f"/pulls/{given.number}/files", params)
        answer = await github.ask(given.repository, wanted)
        return FilesOutput(files=[_file_of(each) for each in answer.body], next_page=answer.next_page)


async def _create(caller: Caller, given: CreatePullInput) -> PullWritten:
    new = {"title": given.title, "head": given.head, "base": given.base, "body": given.body}
    async with writing(caller, given) as (github, _):
        asked = Wanted(_WRITE, "POST", "/pulls", json=new | {"draft": given.is_draft})
        made = (await github.ask(given.repository, asked)).body
        return PullWritten(number=int(made["number"]), url=str(made["html_url"]))


async def _review(caller: Caller, given: ReviewInput) -> Written:
    review = {
        "event": given.event,
        "body": given.body,
        "comments": [comment.model_dump() for comment in given.comments],
    }
    async with writing(caller, given) as (github, _):
        asked = Wanted(_WRITE, "POST", f"/pulls/{given.number}/reviews", json=review)
        made = (await github.ask(given.repository, asked)).body
        return Written(id=int(made["id"]), url=str(made["html_url"]))


async def _merge(caller: Caller, given: MergeInput) -> Merged:
    async with writing(caller, given) as (github, settings):
        if not settings.may_merge:
            raise AccountDenied(
                "The account is set not to merge. A person can merge the pull request, or change that."
            )
        change = {"sha": given.head_sha, "merge_method": given.method}
        asked = Wanted(_MERGE, "PUT", f"/pulls/{given.number}/merge", json=change)
        done = (await github.ask(given.repository, asked)).body
        return Merged(number=given.number, sha=str(done["sha"]), is_merged=bool(done["merged"]))


def _review_of(found: dict[str, Any]) -> Comment:
    said = Comment.of(found)
    return said.model_copy(update={"body": f"[{found['state']}] {said.body}".strip()})


def _file_of(found: dict[str, Any]) -> ChangedFile:
    patch = str(found.get("patch") or "")
    return ChangedFile(
        path=str(found["filename"]),
        status=str(found["status"]),
        additions=int(found["additions"]),
        deletions=int(found["deletions"]),
        patch=patch[:_PATCH_CHARS],
        is_cut=len(patch) > _PATCH_CHARS,
    )


PULL_TOOLS = (
    Tool(
        "github_list_pull_requests",
        "List a repository's pull requests, the newest first.",
        ListInput,
        PullsOutput,
        _list,
        reads_only=True,
        open_world=True,
    ),
    Tool(
        "github_get_pull_request",
        "Read a pull request: what it says, its branches, whether it can be merged, and its reviews.",
        NumberInput,
        PullOutput,
        _get,
        reads_only=True,
        open_world=True,
    ),
    Tool(
        "github_get_pull_request_diff",
        "Read a pull request's whole difference as text. A long one comes in parts: go on with `next_start`.",
        DiffInput,
        DiffOutput,
        _diff,
        reads_only=True,
        open_world=True,
    ),
    Tool(
        "github_list_pull_request_files",
        "List the files that a pull request changes, each with its patch as far as that is short.",
        FilesInput,
        FilesOutput,
        _files,
        reads_only=True,
        open_world=True,
    ),
    Tool(
        "github_create_pull_request",
        "Open a pull request from a branch that is at GitHub already.",
        CreatePullInput,
        PullWritten,
        _create,
        open_world=True,
    ),
    Tool(
        "github_review_pull_request",
        "Review a pull request: comment, approve or request changes, with comments on single lines. It is sent as one "
        "review, and those who follow it are told at once.",
        ReviewInput,
        Written,
        _review,
        open_world=True,
    ),
    Tool(
        "github_merge_pull_request",
        "Merge a pull request, if the account is set to allow that. It cannot be taken back: merge only what the "
        "person you work for wants merged, at the commit that you looked at.",
        MergeInput,
        Merged,
        _merge,
        destroys=True,
        open_world=True,
        default_hold=True,
    ),
)
