"""Tells runners of the durable commands of their workspaces: what to start, what to cancel."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping, Sequence

from services.domain.commands.actions import end_command, issue_command
from services.domain.commands.queries import OpenCommand, all_tenants_open_commands
from services.domain.plane.models import Sandbox
from services.mcp_gateway.link import Link
from services.mcp_gateway.threads import run_in_thread


class CommandDesk:
    """Which of the linked sandboxes have commands at work, as of the last look."""

    def __init__(self) -> None:
        self._at_work: dict[uuid.UUID, bool] = {}

    @property
    def sandboxes(self) -> set[uuid.UUID]:
        """Return the sandboxes that have a command which has not ended."""
        return {sandbox_id for sandbox_id, has_any in self._at_work.items() if has_any}

    def forget(self, sandbox_id: uuid.UUID) -> None:
        """Drop a sandbox that is not served any more."""
        self._at_work.pop(sandbox_id, None)

    async def tell(self, sandboxes: Sequence[Sandbox], links: Mapping[uuid.UUID, Link]) -> None:
        """Tell each runner what it does not know yet. A repeat does no harm: runners know commands by their ids."""
        linked = {
            row.workspace_id: links[row.id]
            for row in sandboxes
            if row.workspace_id is not None and row.id in links and links[row.id].ready.is_set()
        }
        if not linked:
            return
        found = await run_in_thread(all_tenants_open_commands, list(linked))
        for link in linked.values():
            self._at_work[link.sandbox_id] = False
        for command in found:
            link = linked[command.workspace_id]
            if command.sandbox_id in (None, link.sandbox_id) and command.org_id == link.org_id:
                self._at_work[link.sandbox_id] = True
                with contextlib.suppress(RuntimeError, OSError):  # the link broke; the next round tells again
                    await _tell_one(link, command)


async def _tell_one(link: Link, command: OpenCommand) -> None:
    if command.is_cancelled:
        await link.send({"op": "command.cancel", "command": str(command.command_id)})
        if not command.is_running:
            await run_in_thread(end_command, command.org_id, command.command_id, "cancelled", error="")
    elif not command.is_running:
        frame = await run_in_thread(issue_command, command.org_id, command.command_id, link.sandbox_id)
        if frame is not None:
            await link.send(frame)
