"""Reading workspaces."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery

from services.domain.actors import Actor, may, require
from services.domain.agents.models import Agent
from services.domain.agents.queries import visible_agents
from services.domain.errors import WorkspaceMissing
from services.domain.tasks.models import Task
from services.domain.workspaces.models import SessionEntry, Workspace
from services.domain.workspaces.reach import workspaces_in_reach
from services.kit.clock import now
from services.kit.rows import first_of

# How long the files of work that is not kept wait for somebody who goes on with its delivered answer.
KEPT_UNCLAIMED = timedelta(days=1)

_LATEST_SESSION = (
    "SELECT provider_session_id FROM session_entry WHERE workspace_id = %s ORDER BY id DESC LIMIT 1"
)


def list_workspaces(actor: Actor) -> QuerySet[Workspace]:
    """Return the workspaces that the actor may see; to be read in the tenant's transaction."""
    require(actor, "workspaces:read")
    return Workspace.objects.filter(workspaces_in_reach(actor))


def find_usual_agent_id(actor: Actor) -> uuid.UUID | None:
    """Return the agent that the person used last, or else the organisation's first; None when there is none."""
    require(actor, "workspaces:read")
    usable = Agent.objects.filter(visible_agents(actor), archived_at=None)
    used = Workspace.objects.filter(user=actor.user_id, agent__archived_at=None).order_by("-last_active_at")
    return (
        used.values_list("agent_id", flat=True).first()
        or usable.order_by("id").values_list("id", flat=True).first()
    )


def get_workspace(actor: Actor, workspace_id: uuid.UUID) -> Workspace:
    """Return one workspace. Raises: WorkspaceMissing."""
    workspace = first_of(list_workspaces(actor).filter(id=workspace_id))
    if workspace is None:
        raise WorkspaceMissing("There is no such workspace.")
    return workspace


def list_recent_workspaces(
    actor: Actor, *, text: str = "", before: datetime | None = None, limit: int = 50
) -> list[Workspace]:
    """List workspaces in use, the last active first, each with its newest task's status as `last_status`.

    `text` is looked for in the workspace's and the agent's name; `before` goes on from an earlier list.
    In the tenant's transaction.
    """
    newest = Task.objects.filter(workspace_id=OuterRef("id")).order_by("-id")
    rows = (
        list_workspaces(actor)
        .select_related("agent")
        .filter(archived_at=None)
        .annotate(last_status=Subquery(newest.values("status")[:1]))
    )
    if text:
        rows = rows.filter(Q(name__icontains=text) | Q(agent__name__icontains=text))
    if before is not None:
        rows = rows.filter(last_active_at__lt=before)
    return list(rows.order_by("-last_active_at")[:limit])


def lock_own_workspace(actor: Actor, workspace_id: uuid.UUID) -> Workspace:
    """Return a workspace that the actor reaches, locked. Raises: WorkspaceMissing."""
    if not Workspace.objects.filter(workspaces_in_reach(actor), id=workspace_id).exists():
        raise WorkspaceMissing("There is no such workspace.")
    return lock_workspace(workspace_id)


def lock_workspace(workspace_id: uuid.UUID) -> Workspace:
    """Return one workspace, locked, whosever it is. Raises: WorkspaceMissing."""
    workspace = Workspace.objects.select_for_update().filter(id=workspace_id).first()
    if workspace is None:
        raise WorkspaceMissing("There is no such workspace.")
    return workspace


def may_read_stream(actor: Actor, stream: str) -> bool:
    """Say whether the actor may follow a stream; the same answer as GET would give. In the tenant's transaction."""
    kind, _, identity = stream.partition(":")
    try:
        target = uuid.UUID(identity)
    except ValueError:
        return False
    if kind == "workspace":
        reached = Workspace.objects.filter(workspaces_in_reach(actor), id=target)
        return may(actor, "workspaces:read") and reached.exists()
    if kind == "user":
        return actor.user_id == target
    # What it tells is of all agents.
    return kind == "org" and actor.org_id == target and actor.agent_ids is None


def get_session(workspace_id: uuid.UUID) -> tuple[str, list[dict[str, object]]] | None:
    """Return the provider's latest session and its entries in order, or None before the first turn."""
    with connection.cursor() as cursor:
        cursor.execute(_LATEST_SESSION, [workspace_id])
        latest = cursor.fetchone()
    if latest is None:
        return None
    entries = SessionEntry.objects.filter(workspace_id=workspace_id, provider_session_id=latest[0])
    return latest[0], [row.entry for row in entries.order_by("seq")]


def all_tenants_existing(workspace_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of the workspaces that still exist; for the sandbox plane, which lies in another database."""
    return set(Workspace.objects.using("operator").filter(id__in=workspace_ids).values_list("id", flat=True))


def all_tenants_unclaimed(workspace_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of the workspaces that are not kept, have no work, and that nobody claimed in time."""
    rows = Workspace.objects.using("operator").filter(
        id__in=workspace_ids, is_persistent=False, last_active_at__lt=now() - KEPT_UNCLAIMED
    )
    at_work = Task.objects.using("operator").filter(workspace=OuterRef("id"), finished_at=None)
    return set(rows.exclude(Exists(at_work)).values_list("id", flat=True))
