"""Starting, cancelling and ending durable commands."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from services.domain.actors import Actor, require, system_actor
from services.domain.agents.queries import of_named_agents
from services.domain.commands.models import MAX_TEXT_CHARS, OPEN, TAIL_CHARS, Command, CommandStatus
from services.domain.errors import CommandFinished, CommandMissing, Invalid, Limited, SandboxGone
from services.domain.events.log import record_event
from services.domain.events.types import CommandFinished as CommandFinishedEvent
from services.domain.events.types import CommandStarted
from services.domain.plane.queries import find_live_sandbox
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import get_open_workspace
from services.domain.workspaces.waking import wake_workspace
from services.kit.clock import now
from services.kit.redisbus import nudge

MAX_OPEN = 16
MAX_TIMEOUT_S = 86_400

FinalStatus = Literal["succeeded", "failed", "cancelled", "expired", "lost"]
_FINAL: tuple[FinalStatus, ...] = ("succeeded", "failed", "cancelled", "expired", "lost")


def start_command(actor: Actor, workspace_id: uuid.UUID, text: str, *, timeout_s: int) -> Command:
    """Order a command for a workspace; it outlives turns. A workspace that keeps no files must have its sandbox still.

    Queues: WakeSandbox, unless the sandbox is there.
    Raises: WorkspaceMissing, WorkspaceArchived, Invalid, Limited, SandboxGone.
    """
    require(actor, "commands:write")
    if not text.strip() or len(text) > MAX_TEXT_CHARS or "\x00" in text:
        raise Invalid("The command is not valid.", fields={"text": f"1 to {MAX_TEXT_CHARS} characters"})
    with tenant_transaction(actor.org_id):
        workspace = get_open_workspace(actor, workspace_id)
        live = find_live_sandbox(workspace_id)
        if live is None and not workspace.is_persistent:
            raise SandboxGone("The workspace keeps no files, and its sandbox is gone.")
        if Command.objects.filter(workspace=workspace, finished_at=None).count() >= MAX_OPEN:
            raise Limited(f"At most {MAX_OPEN} commands run in a workspace at once.", retry_after_s=5)
        command = Command.objects.create(
            org_id=actor.org_id,
            workspace=workspace,
            started_by_id=actor.user_id,
            text=text,
            timeout_s=timeout_s,
        )
        if live is None:
            wake_workspace(system_actor(actor.org_id), workspace_id)
    if live is not None:
        nudge("gateway", str(live.id))
    return command


def cancel_command(actor: Actor, command_id: uuid.UUID) -> Command:
    """Cancel a command: at once while no sandbox was told of it, else through its runner. Asking twice is fine.

    Emits: CommandFinished, when it ends at once. Raises: CommandMissing, CommandFinished.
    """
    require(actor, "commands:write")
    with tenant_transaction(actor.org_id):
        if not Command.objects.filter(of_named_agents(actor, "workspace__agent_id"), id=command_id).exists():
            raise CommandMissing("There is no such command.")
        command = _lock_command(command_id)
        if command.status == CommandStatus.CANCELLED:
            return command
        if command.status not in OPEN:
            raise CommandFinished("The command has ended already.", status=command.status)
        if command.sandbox_id is None:
            _finish(command, "cancelled")
        elif command.cancel_requested_at is None:
            command.cancel_requested_at = now()
            command.save(update_fields=["cancel_requested_at"])
    if command.sandbox_id is not None:
        nudge("gateway", str(command.sandbox_id))
    return command


def issue_command(org_id: uuid.UUID, command_id: uuid.UUID, sandbox_id: uuid.UUID) -> dict[str, Any] | None:
    """Make the `command.start` frame of a command for its sandbox; None when it is not to run there.

    The first sandbox that is told is the only one: a command that may have begun is not begun elsewhere.
    """
    with tenant_transaction(org_id):
        command = Command.objects.select_for_update().filter(id=command_id, status__in=OPEN).first()
        if command is None or command.sandbox_id not in (None, sandbox_id):
            return None
        if command.sandbox_id is None:
            command.sandbox_id = sandbox_id
            command.save(update_fields=["sandbox_id"])
        return {
            "op": "command.start",
            "command": str(command.id),
            "text": command.text,
            "timeout_s": command.timeout_s,
        }


def store_command_entry(
    command_id: uuid.UUID, sandbox_id: uuid.UUID, kind: str, said: dict[str, Any]
) -> None:
    """Store what a runner says of a command, inside the tenant's transaction; of another's or an ended one, nothing.

    Emits: CommandStarted, CommandFinished.
    """
    command = (
        Command.objects.select_for_update()
        .filter(id=command_id, sandbox_id=sandbox_id, status__in=OPEN)
        .first()
    )
    if command is None:
        return
    if kind == "command.started" and command.started_at is None:
        command.status, command.started_at = CommandStatus.RUNNING, now()
        command.save(update_fields=["status", "started_at"])
        record_event(
            f"workspace:{command.workspace_id}",
            CommandStarted(command_id=str(command.id), text=command.text[:2_000]),
        )
    elif kind == "command.progress":
        _take_output(command, said)
        command.save(update_fields=["output", "output_bytes"])
    elif kind == "command.finished":
        _take_output(command, said)
        status, code = said.get("status"), said.get("exit_code")
        command.exit_code = code if isinstance(code, int) and abs(code) < 2**31 else None
        final: FinalStatus = next((known for known in _FINAL if known == status), "failed")
        _finish(command, final, error=str(said.get("error") or ""))


def end_command(org_id: uuid.UUID, command_id: uuid.UUID, status: FinalStatus, *, error: str) -> None:
    """End a command that no runner will end any more. Emits: CommandFinished, unless it has ended."""
    with tenant_transaction(org_id):
        command = Command.objects.select_for_update().filter(id=command_id, status__in=OPEN).first()
        if command is not None:
            _finish(command, status, error=error)


def _take_output(command: Command, said: dict[str, Any]) -> None:
    output, size = said.get("output"), said.get("output_bytes")
    if isinstance(output, str):
        command.output = _storable(output[-TAIL_CHARS:])
    if isinstance(size, int) and 0 <= size < 2**62:
        command.output_bytes = size


def _finish(command: Command, status: FinalStatus, *, error: str = "") -> None:
    command.status, command.finished_at = CommandStatus(status), now()
    command.error = _storable(error[:300])
    command.save()
    record_event(
        f"workspace:{command.workspace_id}",
        CommandFinishedEvent(
            command_id=str(command.id),
            status=status,
            exit_code=command.exit_code,
            output_bytes=command.output_bytes,
            error=command.error,
        ),
    )


def _storable(text: str) -> str:
    """Replace what PostgreSQL cannot hold: a runner is not believed to have done so."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _lock_command(command_id: uuid.UUID) -> Command:
    command = Command.objects.select_for_update().filter(id=command_id).first()
    if command is None:
        raise CommandMissing("There is no such command.")
    return command
