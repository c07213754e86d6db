"""Calls of MCP servers that run in sandboxes, put on record from what the runners say of them.

Such a call does not pass the gateway. The runner's `tool.called` and `tool.returned` tell of it, so that what is on
record is what the sandbox said. Source: docs/observability.md.
"""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import DatabaseError

from services.domain.calls.models import CallKind
from services.domain.events.types import ToolCalled, ToolReturned, TurnDone
from services.domain.tasks.models import Task
from services.domain.tasks.runner import Said
from services.domain.upstreams.in_sandbox import SandboxTools, load_sandbox_tools
from services.kit.clock import now
from services.mcp_gateway.call_log import CALL_LOG, elapsed_ms
from services.mcp_gateway.threads import run_in_thread
from services.mcp_gateway.watch import UNKNOWN, who_of

log = logging.getLogger(__name__)

MOST_OPEN = 1_000
"""Calls of one turn under way; a sandbox that begins more is not listened to."""
_LONGEST_ID = 200
_LONGEST_MS = 86_400_000
_TOOL = re.compile(r"[A-Za-z0-9_.-]{1,128}")


@dataclass(frozen=True, slots=True)
class _Open:
    server: str
    tool: str
    is_served: bool
    started_at: datetime
    began: float
    request_bytes: int


class SandboxCalls:
    """The calls of one runner's turn that are under way in its sandbox."""

    def __init__(self) -> None:
        self._task_id: uuid.UUID | None = None
        self._tools: SandboxTools | None = None
        self._open: dict[str, _Open] = {}

    async def hear(self, said: Sequence[Said]) -> None:
        """Take what a runner said, in its order and each thing once."""
        for one in said:
            if one.task.id != self._task_id:
                self._task_id, self._tools, self._open = one.task.id, None, {}
            match one.event:
                case ToolCalled():
                    await self._begin(one.task, one.event)
                case ToolReturned():
                    self._end(one.task, one.event)
                case TurnDone():
                    for call in self._open.values():
                        _note(one.task, call, "cancelled", elapsed_ms(call.began))
                    self._open.clear()

    async def _begin(self, task: Task, called: ToolCalled) -> None:
        # Every name of an MCP tool joins those of server and tool. Most others need no look at the database.
        if "_" not in called.name or len(self._open) >= MOST_OPEN or len(called.call_id) > _LONGEST_ID:
            return
        if self._tools is None:
            try:
                self._tools = await run_in_thread(load_sandbox_tools, task.org_id, task.id)
            except DatabaseError as error:
                log.warning("a call in the sandbox of task %s is not on record: %s", task.id, error)
                return
        found = self._tools.find(called.name)
        if found is not None:
            server, tool, is_served = found
            name = tool if is_served and _TOOL.fullmatch(tool) else UNKNOWN
            size = _size_of(called.input)
            self._open[called.call_id] = _Open(server, name, is_served, now(), time.perf_counter(), size)

    def _end(self, task: Task, returned: ToolReturned) -> None:
        call = self._open.pop(returned.call_id, None)
        if call is None:
            return
        took_ms = elapsed_ms(call.began)
        if returned.duration_ms is not None:
            # Measured where it ran: what was said may have waited for the link.
            took_ms = float(max(0, min(returned.duration_ms, _LONGEST_MS)))
        code = ("tool_error" if call.is_served else "unknown_tool") if returned.is_error else ""
        _note(task, call, code, took_ms, result_bytes=len(returned.output.encode()))


def _note(task: Task, call: _Open, code: str, duration_ms: float, *, result_bytes: int = 0) -> None:
    CALL_LOG.note(
        who_of(task).record(
            CallKind.UPSTREAM,
            call.server,
            call.tool,
            code=code,
            started_at=call.started_at,
            duration_ms=duration_ms,
            request_bytes=call.request_bytes,
            result_bytes=result_bytes,
        )
    )


def _size_of(arguments: Any) -> int:
    return len(json.dumps(arguments)) if arguments is not None else 0
