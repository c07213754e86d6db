"""Looking after durable commands whose sandbox is gone, or never came."""

from __future__ import annotations

from datetime import timedelta

from services.domain.commands.actions import end_command
from services.domain.commands.queries import all_tenants_open_commands
from services.domain.plane.queries import list_holding_slot
from services.kit.clock import now

QUEUE_LIMIT = timedelta(minutes=15)


def sweep_commands() -> None:
    """End commands that no runner will end: those of a sandbox that is gone, and those that none was found for."""
    commands = all_tenants_open_commands()
    alive = list_holding_slot([command.sandbox_id for command in commands if command.sandbox_id])
    for command in commands:
        if command.sandbox_id is None and command.created_at + QUEUE_LIMIT < now():
            end_command(
                command.org_id, command.command_id, "expired", error="No sandbox could be started for it."
            )
        elif command.sandbox_id is not None and command.sandbox_id not in alive:
            end_command(
                command.org_id, command.command_id, "lost", error="Its sandbox ended before the command did."
            )
