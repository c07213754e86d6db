"""What the workspace tools take and give."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from pydantic import Field

from services.domain.workspaces.models import Workspace
from services.kit.clock import rfc3339
from services.mcp_gateway.mcp_servers.platform.common import Cursor, Limit, Next, moment
from services.mcp_gateway.mcp_servers.tools import ToolInput, ToolOutput

EventType = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[a-z_]+\.[a-z_]+$")]


class WorkspaceInput(ToolInput):
    workspace_id: uuid.UUID = Field(description="The `workspace_id` of a workspace from workspace_list.")


class WorkspaceListInput(ToolInput):
    archived: bool = Field(default=False, description="List the archived ones instead of the open ones.")
    limit: Limit = 50
    cursor: Cursor = None


class EventsInput(ToolInput):
    workspace_id: uuid.UUID = Field(description="The `workspace_id` of a workspace from workspace_list.")
    after: int = Field(
        default=0,
        ge=0,
        le=2**62,
        description="Only events numbered above this: `next_after` of the call before.",
    )
    types: list[EventType] | None = Field(
        default=None,
        max_length=20,
        description="Only events of these types.",
        examples=[["message.created", "task.finished"]],
    )
    limit: int = Field(default=50, ge=1, le=200, description="The most to return.")


class TranscriptInput(ToolInput):
    workspace_id: uuid.UUID = Field(description="The `workspace_id` of a workspace from workspace_list.")
    max_chars: int = Field(
        default=20_000,
        ge=500,
        le=200_000,
        description="How long the text may be; the newest part is kept.",
    )


class ListedWorkspace(ToolOutput):
    workspace_id: str = Field(description="The workspace's id.")
    name: str = Field(description="What people call it: the beginning of its first prompt, unless renamed.")
    agent: str = Field(description="The slug of its agent.")
    is_persistent: bool = Field(description="Whether its files are kept between tasks.")
    turns: int = Field(description="How many tasks it has had.")
    last_active_at: str = Field(description="When it was used last, in UTC.")
    archived_at: str | None = Field(description="When it was closed, in UTC; null while it is open.")

    @classmethod
    def of(cls, workspace: Workspace) -> ListedWorkspace:
        """Describe a workspace that was read with its agent."""
        return cls(
            workspace_id=str(workspace.id),
            name=workspace.name,
            agent=workspace.agent.slug,
            is_persistent=workspace.is_persistent,
            turns=workspace.turn_count,
            last_active_at=rfc3339(workspace.last_active_at),
            archived_at=moment(workspace.archived_at),
        )


class WorkspaceList(ToolOutput):
    workspaces: list[ListedWorkspace] = Field(description="The workspaces, the newest first.")
    next: Next


class ListedEvent(ToolOutput):
    seq: int = Field(description="The event's number in its workspace.")
    type: str = Field(description="What happened, such as message.created or tool.called.")
    at: str = Field(description="When, in UTC.")
    task_id: str | None = Field(description="The task that it belongs to, if any.")
    data: dict[str, Any] = Field(description="What it is about; the fields depend on the type.")

    @classmethod
    def of(cls, envelope: dict[str, Any]) -> ListedEvent:
        """Describe an event by its envelope."""
        return cls(**{name: envelope[name] for name in ("seq", "type", "at", "task_id", "data")})


class WorkspaceEvents(ToolOutput):
    events: list[ListedEvent] = Field(description="The events, the oldest first.")
    next_after: int = Field(description="Give it as `after` to read on, now or later.")
    has_more: bool = Field(description="Whether there are more already.")


class TranscriptOutput(ToolOutput):
    text: str = Field(description="The conversation, the oldest first.")
    is_cut: bool = Field(description="Whether an earlier part was left out; ask with a larger `max_chars`.")
    last_seq: int = Field(description="The number of the last event in it, for workspace_events.")
