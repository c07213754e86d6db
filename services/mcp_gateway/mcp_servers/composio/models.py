"""What the Composio tools take and give. What has no fixed shape travels as JSON text."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field, StringConstraints, field_validator

from services.adapters.accounts.composio.client import Connection, HostedTool, Toolkit
from services.mcp_gateway.mcp_servers.tools import ToolInput, ToolOutput

MAX_JSON_CHARS = 60_000
MAX_ARGUMENTS_CHARS = 100_000

Account = Annotated[
    str | None,
    Field(
        max_length=80,
        description="Which connected Composio account, by its name. Leave out where there is only one.",
    ),
]
_Slug = StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,100}$")
ToolSlug = Annotated[str, _Slug, Field(description="A tool's `slug`, for example `GITHUB_CREATE_AN_ISSUE`.")]


class ConnectionsInput(ToolInput):
    account: Account = None


class ToolkitsInput(ToolInput):
    search: str = Field(default="", max_length=200, description="Words to look for; empty for the most used.")
    limit: int = Field(default=20, ge=1, le=50, description="The most to return.")
    account: Account = None


class SearchInput(ToolInput):
    query: str = Field(min_length=1, max_length=500, description="What the tool should do, in a few words.")
    toolkit: Annotated[str, _Slug] | None = Field(
        default=None, description="Only tools of this toolkit, by its `slug`."
    )
    limit: int = Field(default=10, ge=1, le=30, description="The most to return.")
    account: Account = None


class GetInput(ToolInput):
    slug: ToolSlug
    account: Account = None


class ExecuteInput(ToolInput):
    slug: ToolSlug
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="What the tool's schema asks for; see `composio_get_tool`."
    )
    connection_id: Annotated[str, _Slug] | None = Field(
        default=None, description="Which connection, where the person has several of one toolkit."
    )
    account: Account = None

    @field_validator("arguments")
    @classmethod
    def _is_storable(cls, value: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps(value)
        if len(text) > MAX_ARGUMENTS_CHARS:
            raise ValueError(f"must have at most {MAX_ARGUMENTS_CHARS} characters as JSON")
        return value


class ConnectionOutput(ToolOutput):
    connection_id: str = Field(description="Give it to `composio_execute_tool` where a toolkit has several.")
    toolkit: str = Field(description="The `slug` of the toolkit that it is for.")
    status: str = Field(description="`ACTIVE`, or why it cannot be used.")

    @classmethod
    def of(cls, connection: Connection) -> ConnectionOutput:
        return cls(connection_id=connection.id, toolkit=connection.toolkit, status=connection.status)


class ConnectionsOutput(ToolOutput):
    connections: list[ConnectionOutput] = Field(description="All that the person has connected.")


class ToolkitOutput(ToolOutput):
    slug: str = Field(description="Give it as `toolkit` to `composio_search_tools`.")
    name: str = Field(description="The application's name.")
    description: str = Field(description="What it is for; 300 characters at most.")

    @classmethod
    def of(cls, toolkit: Toolkit) -> ToolkitOutput:
        return cls(slug=toolkit.slug, name=toolkit.name, description=toolkit.description[:300])


class ToolkitsOutput(ToolOutput):
    toolkits: list[ToolkitOutput] = Field(description="Those that fit best, or the most used.")


class FoundTool(ToolOutput):
    slug: str = Field(description="Give it to `composio_get_tool`.")
    name: str = Field(description="A name for people.")
    toolkit: str = Field(description="The `slug` of its toolkit.")
    description: str = Field(description="What it does; 500 characters at most.")

    @classmethod
    def of(cls, tool: HostedTool) -> FoundTool:
        return cls(slug=tool.slug, name=tool.name, toolkit=tool.toolkit, description=tool.description[:500])


class FoundTools(ToolOutput):
    tools: list[FoundTool] = Field(description="Those that fit best.")


class ToolSchema(ToolOutput):
    slug: str = Field(description="Give it to `composio_execute_tool`.")
    name: str = Field(description="A name for people.")
    toolkit: str = Field(description="The `slug` of its toolkit.")
    description: str = Field(description="What it does.")
    input_schema_json: str = Field(description="The schema of `arguments`, as JSON text.")


class ExecutedOutput(ToolOutput):
    successful: bool = Field(description="Whether the tool did what it was asked for.")
    result_json: str = Field(description="What the tool gave, as JSON text.")
    is_cut: bool = Field(description="The result was longer than what is shown.")
    error: str = Field(description="Why it did not succeed; empty when it did.")
    log_id: str = Field(description="Finds this run in Composio's own log; for people.")


def as_json(value: Any) -> tuple[str, bool]:
    """Return a value as JSON text of a bounded length, and whether it was cut."""
    text = json.dumps(value, ensure_ascii=False)
    return text[:MAX_JSON_CHARS], len(text) > MAX_JSON_CHARS
