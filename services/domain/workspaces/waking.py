"""Waking a workspace's sandbox, and putting it to rest, when a person asks."""

from __future__ import annotations

import uuid

from services.domain.actors import Actor, require
from services.domain.errors import WorkspaceBusy, WorkspaceNotRunning
from services.domain.outbox.jobs import PauseSandbox, StopSandbox, WakeSandbox, enqueue, host_queue
from services.domain.plane.models import SandboxState
from services.domain.plane.queries import find_live_sandbox, find_sandbox_of
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.models import Workspace
from services.domain.workspaces.queries import lock_own_workspace


def wake_workspace(actor: Actor, workspace_id: uuid.UUID) -> Workspace:
    """Have a workspace's sandbox come up without a task, whatever state it is in; one that is there stays so.

    `find_live_sandbox` says when it is there. Queues: WakeSandbox. Raises: WorkspaceMissing.
    """
    require(actor, "workspaces:write")
    with tenant_transaction(actor.org_id):
        workspace = lock_own_workspace(actor, workspace_id)
        if find_live_sandbox(workspace_id) is None:
            enqueue(WakeSandbox(org_id=actor.org_id, workspace_id=workspace_id))
        return workspace


def pause_workspace(actor: Actor, workspace_id: uuid.UUID) -> Workspace:
    """Have a workspace's idle sandbox frozen; the next message wakes it. Twice is fine.

    Queues: PauseSandbox. Raises: WorkspaceMissing, WorkspaceBusy, WorkspaceNotRunning.
    """
    require(actor, "workspaces:write")
    with tenant_transaction(actor.org_id):
        workspace = _lock_at_rest(actor, workspace_id)
        sandbox = find_sandbox_of(workspace_id)
        if sandbox is None:
            raise WorkspaceNotRunning("The workspace has no sandbox that could be paused.")
        if sandbox.state == SandboxState.CREATING:
            raise WorkspaceBusy("The workspace's sandbox is being started.")
        if sandbox.state != SandboxState.PAUSED:
            enqueue(PauseSandbox(sandbox_id=sandbox.id), queue=host_queue(sandbox.host_id))
        return workspace


def stop_workspace(actor: Actor, workspace_id: uuid.UUID) -> Workspace:
    """Have a workspace's sandbox removed; its files stay, and the next message starts it again. Twice is fine.

    Queues: StopSandbox. Raises: WorkspaceMissing, WorkspaceBusy.
    """
    require(actor, "workspaces:write")
    with tenant_transaction(actor.org_id):
        workspace = _lock_at_rest(actor, workspace_id)
        sandbox = find_sandbox_of(workspace_id)
        if sandbox is not None:
            enqueue(StopSandbox(sandbox_id=sandbox.id, is_idle_only=True), queue=host_queue(sandbox.host_id))
        return workspace


def _lock_at_rest(actor: Actor, workspace_id: uuid.UUID) -> Workspace:
    workspace = lock_own_workspace(actor, workspace_id)
    if workspace.tasks.filter(finished_at=None).exists():
        raise WorkspaceBusy("The workspace has work in progress.")
    return workspace
