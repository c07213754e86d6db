"""Creating, renaming, archiving and deleting workspaces."""

from __future__ import annotations

import uuid

from django.db import connection

from services.domain.actors import Actor, require
from services.domain.agents.actions import get_usable_agent
from services.domain.agents.models import Agent
from services.domain.errors import StillInUse, WorkspaceArchived
from services.domain.events.announcing import announce_change
from services.domain.events.listed import WorkspaceChanged
from services.domain.events.log import record_event
from services.domain.events.models import Event, Stream
from services.domain.events.types import SandboxChanged
from services.domain.outbox.jobs import StopSandbox, enqueue, host_queue
from services.domain.plane.queries import find_sandbox_of
from services.domain.plane.volumes import order_archive
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.models import SessionEntry, Workspace
from services.domain.workspaces.queries import lock_own_workspace
from services.kit.clock import now

_SET_SANDBOX_STATE = "UPDATE workspace SET sandbox_state = %s WHERE id = %s AND sandbox_state <> %s"


def create_workspace(
    actor: Actor, agent: Agent, *, source: str, is_persistent: bool, name: str = "", turn_count: int = 0
) -> Workspace:
    """Make a new workspace of an agent, inside the caller's transaction; `turn_count` 1 with its first turn.

    Emits: WorkspaceChanged.
    """
    workspace = Workspace.objects.create(
        org_id=actor.org_id,
        agent=agent,
        user_id=actor.user_id,
        source=source,
        is_persistent=is_persistent,
        name=name[:120],
        turn_count=turn_count,
    )
    announce_change(WorkspaceChanged, workspace, "created")
    return workspace


def note_turn(workspace: Workspace, title: str) -> None:
    """Count one more turn of a workspace whose row is locked; one without a name gets the title."""
    workspace.turn_count += 1
    workspace.last_active_at = now()
    workspace.name = workspace.name or title
    workspace.save(update_fields=["turn_count", "last_active_at", "name"])
    announce_change(WorkspaceChanged, workspace)


def rename_workspace(actor: Actor, workspace_id: uuid.UUID, name: str) -> Workspace:
    """Give a workspace a name. Emits: WorkspaceChanged. Raises: WorkspaceMissing."""
    require(actor, "workspaces:write")
    with tenant_transaction(actor.org_id):
        workspace = lock_own_workspace(actor, workspace_id)
        workspace.name = name
        workspace.save(update_fields=["name"])
        announce_change(WorkspaceChanged, workspace)
        return workspace


def archive_workspace(actor: Actor, workspace_id: uuid.UUID) -> Workspace:
    """Close a workspace to new work; its events stay, its files go to object storage at once. Twice is fine.

    Emits: WorkspaceChanged. Queues: StopSandbox, ArchiveVolume. Raises: WorkspaceMissing, StillInUse.
    """
    require(actor, "workspaces:write")
    with tenant_transaction(actor.org_id):
        workspace = lock_own_workspace(actor, workspace_id)
        _refuse_while_active(workspace)
        if workspace.archived_at is None:
            workspace.archived_at = now()
            workspace.save(update_fields=["archived_at"])
            announce_change(WorkspaceChanged, workspace)
            _order_stop(workspace)
            order_archive(workspace.id)
        return workspace


def restore_workspace(actor: Actor, workspace_id: uuid.UUID) -> Workspace:
    """Open an archived workspace again; its files come back with the next task. Twice is fine.

    Emits: WorkspaceChanged. Raises: WorkspaceMissing, AgentArchived.
    """
    require(actor, "workspaces:write")
    with tenant_transaction(actor.org_id):
        workspace = lock_own_workspace(actor, workspace_id)
        get_usable_agent(actor, workspace.agent_id)
        if workspace.archived_at is not None:
            workspace.archived_at = None
            workspace.save(update_fields=["archived_at"])
            announce_change(WorkspaceChanged, workspace)
        return workspace


def delete_workspace(actor: Actor, workspace_id: uuid.UUID) -> None:
    """Delete a workspace, its tasks, events and session; its sandbox goes at once, its files with the next sweep.

    Emits: WorkspaceChanged. Queues: StopSandbox. Raises: WorkspaceMissing, StillInUse.
    """
    require(actor, "workspaces:write")
    with tenant_transaction(actor.org_id):
        workspace = lock_own_workspace(actor, workspace_id)
        _refuse_while_active(workspace)
        _order_stop(workspace)
        Event.objects.filter(stream=workspace.stream).delete()
        Stream.objects.filter(name=workspace.stream).delete()
        announce_change(WorkspaceChanged, workspace, "deleted")
        workspace.delete()


def mirror_sandbox_state(org_id: uuid.UUID, workspace_id: uuid.UUID, state: str, *, reason: str = "") -> None:
    """Show readers what the sandbox plane decided. A workspace that is gone is no error.

    Emits: SandboxChanged and WorkspaceChanged, when the state is another one.
    """
    with tenant_transaction(org_id):
        note_sandbox_state(workspace_id, state, reason=reason)


def note_sandbox_state(workspace_id: uuid.UUID, state: str, *, reason: str = "") -> None:
    """Show readers what the sandbox plane decided, in the tenant's transaction.

    Emits: SandboxChanged, WorkspaceChanged.
    """
    with connection.cursor() as cursor:
        cursor.execute(_SET_SANDBOX_STATE, [state, workspace_id, state])
        has_changed = cursor.rowcount == 1
    if has_changed:
        record_event(f"workspace:{workspace_id}", SandboxChanged(state=state, reason=reason))
        announce_change(WorkspaceChanged, Workspace.objects.get(id=workspace_id))


def save_session(workspace: Workspace, session_id: str, entries: list[dict[str, object]]) -> None:
    """Append entries to the provider's session, inside the caller's transaction, under the workspace's lock."""
    last = (
        SessionEntry.objects.filter(workspace=workspace, provider_session_id=session_id)
        .order_by("-seq")
        .values_list("seq", flat=True)
        .first()
    ) or 0
    SessionEntry.objects.bulk_create(
        SessionEntry(
            org_id=workspace.org_id,
            workspace=workspace,
            provider_session_id=session_id,
            seq=last + index,
            entry=entry,
        )
        for index, entry in enumerate(entries, start=1)
    )


def get_open_workspace(actor: Actor, workspace_id: uuid.UUID) -> Workspace:
    """Return a workspace to which the actor may give work, locked. Raises: WorkspaceMissing, WorkspaceArchived."""
    workspace = lock_own_workspace(actor, workspace_id)
    if workspace.archived_at is not None:
        raise WorkspaceArchived("The workspace is archived.")
    return workspace


def _order_stop(workspace: Workspace) -> None:
    sandbox = find_sandbox_of(workspace.id)
    if sandbox is not None:
        enqueue(StopSandbox(sandbox_id=sandbox.id, is_idle_only=True), queue=host_queue(sandbox.host_id))


def _refuse_while_active(workspace: Workspace) -> None:
    if workspace.tasks.filter(finished_at=None).exists():
        raise StillInUse("The workspace has work in progress. Cancel it first.")
