"""Workspaces and their events over REST."""

from __future__ import annotations

import uuid
from typing import Any, Self

from pydantic import Field

from services.api.http.bodies import Closed
from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Moment, Page, Shape
from services.domain.errors import (
    AgentArchived,
    StillInUse,
    WorkspaceBusy,
    WorkspaceMissing,
    WorkspaceNotRunning,
)
from services.domain.events.queries import EventPage, get_events_of_workspace
from services.domain.workspaces.actions import (
    archive_workspace,
    delete_workspace,
    rename_workspace,
    restore_workspace,
)
from services.domain.workspaces.models import Workspace
from services.domain.workspaces.queries import get_workspace, list_workspaces
from services.domain.workspaces.waking import pause_workspace, stop_workspace, wake_workspace


class WorkspaceChanges(Closed):
    """A workspace's new name."""

    name: str = Field(min_length=1, max_length=120)


class WorkspaceShape(Shape):
    """A conversation with an agent, and its sandbox's state."""

    id: uuid.UUID
    agent_id: uuid.UUID
    user_id: uuid.UUID | None
    name: str
    source: str
    is_persistent: bool
    sandbox_state: str
    turn_count: int
    stream: str
    created_at: Moment
    last_active_at: Moment
    archived_at: Moment | None

    @classmethod
    def of(cls, workspace: Workspace) -> Self:
        """Show a row."""
        return cls.model_validate(workspace)


class EventShape(Shape):
    """One durable event: the same envelope as on every other transport."""

    stream: str
    seq: int
    type: str
    at: str
    task_id: uuid.UUID | None
    turn: int | None
    data: dict[str, Any]


class EventsShape(Shape):
    """Events in order. `next` is what to send as `after` to get on, null at the end; `head` is the newest number."""

    items: list[EventShape]
    next: str | None
    oldest: int
    head: int

    @classmethod
    def of(cls, page: EventPage) -> Self:
        """Show a part of a stream."""
        items = [EventShape.model_validate(envelope) for envelope in page.envelopes]
        last = items[-1].seq if items else page.head
        return cls(
            items=items, next=str(last) if last < page.head else None, oldest=page.oldest, head=page.head
        )


class WorkspaceQuery(PageQuery):
    """Which workspaces."""

    agent_id: uuid.UUID | None = None


class EventQuery(Closed):
    """Which events: those above `after`."""

    after: int = Field(default=0, ge=0, le=2**62)
    limit: int = Field(default=100, ge=1, le=200)


class Workspaces(Endpoint):
    """All workspaces."""

    tag = "workspaces"

    @operation()
    def get(self, call: Call, query: WorkspaceQuery) -> Page[WorkspaceShape]:
        """List workspaces, newest first."""
        return page_of(list_workspaces(call.actor), query, WorkspaceShape.of)


class OneWorkspace(Endpoint):
    """One workspace."""

    tag = "workspaces"

    @operation(errors=(WorkspaceMissing,))
    def get(self, call: Call, workspace_id: uuid.UUID) -> WorkspaceShape:
        """Show a workspace."""
        return WorkspaceShape.of(get_workspace(call.actor, workspace_id))

    @operation(errors=(WorkspaceMissing,))
    def patch(self, call: Call, workspace_id: uuid.UUID, body: WorkspaceChanges) -> WorkspaceShape:
        """Rename a workspace."""
        return WorkspaceShape.of(rename_workspace(call.actor, workspace_id, body.name))

    @operation(errors=(WorkspaceMissing, StillInUse))
    def delete(self, call: Call, workspace_id: uuid.UUID) -> None:
        """Delete a workspace with its tasks, events and files."""
        delete_workspace(call.actor, workspace_id)


class WorkspaceArchive(Endpoint):
    """Archiving one workspace."""

    tag = "workspaces"

    @operation(errors=(WorkspaceMissing, StillInUse))
    def post(self, call: Call, workspace_id: uuid.UUID) -> WorkspaceShape:
        """Close a workspace to new work; its events stay, its files go to object storage."""
        return WorkspaceShape.of(archive_workspace(call.actor, workspace_id))


class WorkspaceRestore(Endpoint):
    """Restoring one archived workspace."""

    tag = "workspaces"

    @operation(errors=(WorkspaceMissing, AgentArchived))
    def post(self, call: Call, workspace_id: uuid.UUID) -> WorkspaceShape:
        """Open an archived workspace to new work; its files come back with it."""
        return WorkspaceShape.of(restore_workspace(call.actor, workspace_id))


class WorkspacePause(Endpoint):
    """Pausing the sandbox of one workspace."""

    tag = "workspaces"

    @operation(status=202, errors=(WorkspaceMissing, WorkspaceBusy, WorkspaceNotRunning))
    def post(self, call: Call, workspace_id: uuid.UUID) -> WorkspaceShape:
        """Freeze an idle sandbox; `sandbox.changed` tells when it is done, and the next task wakes it."""
        return WorkspaceShape.of(pause_workspace(call.actor, workspace_id))


class WorkspaceResume(Endpoint):
    """Waking the sandbox of one workspace."""

    tag = "workspaces"

    @operation(status=202, errors=(WorkspaceMissing,))
    def post(self, call: Call, workspace_id: uuid.UUID) -> WorkspaceShape:
        """Bring a sandbox up from any state; `sandbox.changed` tells when it is there."""
        return WorkspaceShape.of(wake_workspace(call.actor, workspace_id))


class WorkspaceStop(Endpoint):
    """Stopping the sandbox of one workspace."""

    tag = "workspaces"

    @operation(status=202, errors=(WorkspaceMissing, WorkspaceBusy))
    def post(self, call: Call, workspace_id: uuid.UUID) -> WorkspaceShape:
        """Remove a sandbox that is not at work; its files stay, and the next task starts it again."""
        return WorkspaceShape.of(stop_workspace(call.actor, workspace_id))


class WorkspaceEvents(Endpoint):
    """The events of one workspace."""

    tag = "workspaces"

    @operation(errors=(WorkspaceMissing,))
    def get(self, call: Call, workspace_id: uuid.UUID, query: EventQuery) -> EventsShape:
        """List a workspace's durable events in order."""
        page = get_events_of_workspace(call.actor, workspace_id, after=query.after, limit=query.limit)
        return EventsShape.of(page)
