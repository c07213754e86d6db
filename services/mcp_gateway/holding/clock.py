"""Stops the clocks of turns that wait here for a person."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from typing import Literal

from services.domain.tasks.models import Task
from services.domain.tasks.waiting import TICK, end_waiting, note_waiting
from services.mcp_gateway.threads import run_in_thread

Reason = Literal["approval", "question"]


class TurnClocks:
    """How many calls of each turn wait in this process."""

    def __init__(self) -> None:
        self._waiting: Counter[uuid.UUID] = Counter()

    @contextlib.asynccontextmanager
    async def stopped(
        self, task: Task, reason: Reason, approval_id: uuid.UUID | None = None
    ) -> AsyncIterator[Stop]:
        """Let the turn's clock stand still inside the block, as long as `tick` is called there about once a second."""
        self._waiting[task.id] += 1
        stop = Stop(self, task, reason, approval_id)
        try:
            yield stop
        finally:
            self._waiting[task.id] -= 1
            if not self._waiting[task.id]:
                del self._waiting[task.id]
                if stop.was_noted:
                    await run_in_thread(end_waiting, task.org_id, task.id)

    def waiting(self, task_id: uuid.UUID) -> int:
        """Return how many calls of a turn wait here."""
        return self._waiting[task_id]


class Stop:
    """One call that waits."""

    def __init__(self, clocks: TurnClocks, task: Task, reason: Reason, approval_id: uuid.UUID | None) -> None:
        self._clocks, self._task, self._reason, self._approval_id = clocks, task, reason, approval_id
        self._next_at = 0.0
        self.was_noted = False

    async def tick(self) -> None:
        """Say that it still waits; heard at most once a TICK."""
        moment = time.monotonic()
        if moment < self._next_at:
            return
        self._next_at = moment + TICK.total_seconds()
        await run_in_thread(
            note_waiting,
            self._task,
            reason=self._reason,
            approval_id=self._approval_id,
            calls_waiting=self._clocks.waiting(self._task.id),
        )
        self.was_noted = True
