"""Durable commands over REST."""

from __future__ import annotations

import time
import uuid
from typing import Self

from pydantic import Field

from services.api.http.bodies import Closed
from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Moment, Page, Shape
from services.api.sandbox_files import TRANSFERS
from services.domain.commands.actions import MAX_TIMEOUT_S, cancel_command, start_command
from services.domain.commands.models import MAX_TEXT_CHARS, Command, CommandStatus
from services.domain.commands.queries import get_command, list_commands
from services.domain.errors import (
    CommandFinished,
    CommandMissing,
    Limited,
    RateLimited,
    SandboxGone,
    WorkspaceArchived,
    WorkspaceMissing,
)
from services.domain.tenancy.transaction import tenant_transaction

POLL_S = 0.2


class CommandBody(Closed):
    """A command for bash, run in the workspace; its standard input is empty."""

    text: str = Field(min_length=1, max_length=MAX_TEXT_CHARS)
    timeout_s: int = Field(default=3_600, ge=1, le=MAX_TIMEOUT_S)


class CommandShape(Shape):
    """A command. `output` is the end of what it printed, up to 64 KiB; `output_bytes` is how long all of it was."""

    id: uuid.UUID
    workspace_id: uuid.UUID
    started_by: uuid.UUID | None
    text: str
    status: CommandStatus
    timeout_s: int
    exit_code: int | None
    error: str
    output: str
    output_bytes: int
    cancel_requested: bool
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None

    @classmethod
    def of(cls, command: Command) -> Self:
        """Show a row."""
        return cls(
            id=command.id, workspace_id=command.workspace_id, started_by=command.started_by_id, text=command.text,
            status=CommandStatus(command.status), timeout_s=command.timeout_s, exit_code=command.exit_code,
            error=command.error, output=command.output, output_bytes=command.output_bytes,
            cancel_requested=command.cancel_requested_at is not None, created_at=command.created_at,
            started_at=command.started_at, finished_at=command.finished_at,
        )  # fmt: skip


class WaitQuery(Closed):
    """How long to wait for the end."""

    wait_s: float = Field(default=0, ge=0, le=30)


class Commands(Endpoint):
    """The commands of one workspace."""

    tag = "commands"

    @operation(errors=(WorkspaceMissing,))
    def get(self, call: Call, workspace_id: uuid.UUID, query: PageQuery) -> Page[CommandShape]:
        """List commands, newest first."""
        return page_of(list_commands(call.actor, workspace_id), query, CommandShape.of)

    @operation(status=202, errors=(WorkspaceMissing, WorkspaceArchived, SandboxGone, Limited))
    def post(self, call: Call, workspace_id: uuid.UUID, body: CommandBody) -> CommandShape:
        """Start a command that outlives turns. The workspace's sandbox is woken for it."""
        return CommandShape.of(start_command(call.actor, workspace_id, body.text, timeout_s=body.timeout_s))


class OneCommand(Endpoint):
    """One command."""

    tag = "commands"

    @operation(errors=(CommandMissing, RateLimited), is_waiting=True)
    def get(self, call: Call, command_id: uuid.UUID, query: WaitQuery) -> CommandShape:
        """Show a command; with `wait_s`, once it has ended or the time is over."""
        command = _read(call, command_id)
        if query.wait_s <= 0 or command.finished_at is not None:
            return CommandShape.of(command)
        TRANSFERS.enter(call.actor.org_id)
        try:
            deadline = time.monotonic() + query.wait_s
            while time.monotonic() < deadline:
                time.sleep(POLL_S)
                command = _read(call, command_id)
                if command.finished_at is not None:
                    break
        finally:
            TRANSFERS.leave(call.actor.org_id)
        return CommandShape.of(command)


class CommandCancel(Endpoint):
    """Cancelling one command."""

    tag = "commands"

    @operation(errors=(CommandMissing, CommandFinished))
    def post(self, call: Call, command_id: uuid.UUID) -> CommandShape:
        """Cancel a command. Asking twice is fine."""
        return CommandShape.of(cancel_command(call.actor, command_id))


def _read(call: Call, command_id: uuid.UUID) -> Command:
    with tenant_transaction(call.actor.org_id):
        return get_command(call.actor, command_id)
