"""Reading durable commands."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from services.domain.actors import Actor, require
from services.domain.agents.queries import of_named_agents
from services.domain.commands.models import Command
from services.domain.errors import CommandMissing
from services.domain.workspaces.queries import get_workspace


def list_commands(actor: Actor, workspace_id: uuid.UUID) -> QuerySet[Command]:
    """Return a workspace's commands; to be read in the tenant's transaction. Raises: WorkspaceMissing."""
    require(actor, "commands:read")
    return Command.objects.filter(workspace=get_workspace(actor, workspace_id))


def get_command(actor: Actor, command_id: uuid.UUID) -> Command:
    """Return one command, in the tenant's transaction. Raises: CommandMissing."""
    require(actor, "commands:read")
    command = Command.objects.filter(of_named_agents(actor, "workspace__agent_id"), id=command_id).first()
    if command is None:
        raise CommandMissing("There is no such command.")
    return command


@dataclass(frozen=True, slots=True)
class OpenCommand:
    """A command that has not ended, as whoever looks after sandboxes sees it."""

    command_id: uuid.UUID
    org_id: uuid.UUID
    workspace_id: uuid.UUID
    sandbox_id: uuid.UUID | None
    is_running: bool
    is_cancelled: bool
    created_at: datetime


def all_tenants_open_commands(workspace_ids: Sequence[uuid.UUID] | None = None) -> list[OpenCommand]:
    """List the commands that have not ended, of these workspaces or of all, the oldest first."""
    rows = Command.objects.using("operator").filter(finished_at=None).order_by("id")
    if workspace_ids is not None:
        rows = rows.filter(workspace_id__in=workspace_ids)
    return [
        OpenCommand(
            command_id=row.id,
            org_id=row.org_id,
            workspace_id=row.workspace_id,
            sandbox_id=row.sandbox_id,
            is_running=row.started_at is not None,
            is_cancelled=row.cancel_requested_at is not None,
            created_at=row.created_at,
        )
        for row in rows.only(
            "id", "org_id", "workspace_id", "sandbox_id", "started_at", "cancel_requested_at", "created_at"
        )
    ]
