"""The tools about workspaces: list, look, events, transcript, archive."""

from __future__ import annotations

from services.domain.events.queries import get_events_of_workspace
from services.domain.events.transcript import get_transcript
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import archive_workspace
from services.domain.workspaces.queries import get_workspace, list_workspaces
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.platform.common import page_of
from services.mcp_gateway.mcp_servers.platform.workspace_models import (
    EventsInput,
    ListedEvent,
    ListedWorkspace,
    TranscriptInput,
    TranscriptOutput,
    WorkspaceEvents,
    WorkspaceInput,
    WorkspaceList,
    WorkspaceListInput,
)
from services.mcp_gateway.mcp_servers.tools import Tool
from services.mcp_gateway.threads import run_in_thread


def _list_now(caller: Caller, given: WorkspaceListInput) -> WorkspaceList:
    with tenant_transaction(caller.actor.org_id):
        found = list_workspaces(caller.actor).filter(archived_at__isnull=not given.archived)
        workspaces = found.select_related("agent")
        rows, following = page_of(workspaces, cursor=given.cursor, limit=given.limit)
        return WorkspaceList(workspaces=[ListedWorkspace.of(row) for row in rows], next=following)


def _get_now(caller: Caller, given: WorkspaceInput) -> ListedWorkspace:
    with tenant_transaction(caller.actor.org_id):
        return ListedWorkspace.of(get_workspace(caller.actor, given.workspace_id))


def _events_now(caller: Caller, given: EventsInput) -> WorkspaceEvents:
    with tenant_transaction(caller.actor.org_id):
        page = get_events_of_workspace(
            caller.actor, given.workspace_id, after=given.after, limit=given.limit + 1, types=given.types
        )
        shown = page.envelopes[: given.limit]
        has_more = len(page.envelopes) > given.limit
        return WorkspaceEvents(
            events=[ListedEvent.of(envelope) for envelope in shown],
            next_after=shown[-1]["seq"] if has_more else max(given.after, page.head),
            has_more=has_more,
        )


def _transcript_now(caller: Caller, given: TranscriptInput) -> TranscriptOutput:
    with tenant_transaction(caller.actor.org_id):
        found = get_transcript(caller.actor, given.workspace_id, max_chars=given.max_chars)
        return TranscriptOutput(text=found.text, is_cut=found.is_cut, last_seq=found.head)


def _archive_now(caller: Caller, given: WorkspaceInput) -> ListedWorkspace:
    archive_workspace(caller.actor, given.workspace_id)
    return _get_now(caller, given)


async def _list(caller: Caller, given: WorkspaceListInput) -> WorkspaceList:
    return await run_in_thread(_list_now, caller, given)


async def _get(caller: Caller, given: WorkspaceInput) -> ListedWorkspace:
    return await run_in_thread(_get_now, caller, given)


async def _events(caller: Caller, given: EventsInput) -> WorkspaceEvents:
    return await run_in_thread(_events_now, caller, given)


async def _transcript(caller: Caller, given: TranscriptInput) -> TranscriptOutput:
    return await run_in_thread(_transcript_now, caller, given)


async def _archive(caller: Caller, given: WorkspaceInput) -> ListedWorkspace:
    return await run_in_thread(_archive_now, caller, given)


WORKSPACE_TOOLS = (
    Tool(
        "workspace_list",
        "List the workspaces of the person you work for, the newest first. Each is one conversation with its files.",
        WorkspaceListInput,
        WorkspaceList,
        _list,
        reads_only=True,
    ),
    Tool(
        "workspace_get",
        "Look at one workspace: its name, its agent, when it was used last.",
        WorkspaceInput,
        ListedWorkspace,
        _get,
        reads_only=True,
    ),
    Tool(
        "workspace_events",
        "Read what happened in a workspace, event by event, the oldest first: messages, tool calls, how tasks ended. "
        "To read a conversation, workspace_transcript is shorter.",
        EventsInput,
        WorkspaceEvents,
        _events,
        reads_only=True,
    ),
    Tool(
        "workspace_transcript",
        "Read the last part of a workspace's conversation as text: what the person and the agent said, which tools "
        "were called.",
        TranscriptInput,
        TranscriptOutput,
        _transcript,
        reads_only=True,
    ),
    Tool(
        "workspace_archive",
        "Close a workspace in which no work is under way: its files are put away, its conversation stays readable. A "
        "person can open it again.",
        WorkspaceInput,
        ListedWorkspace,
        _archive,
        destroys=True,
    ),
)
