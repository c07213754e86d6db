"""Keeping a prompt and its answer, where an organisation wants that."""

from __future__ import annotations

import logging
import uuid

from services.domain.llm.logs import MAX_RAW_BYTES, RawCall, store_call
from services.domain.llm.rules import LogRules
from services.domain.tasks.models import Task
from services.mcp_gateway.threads import run_in_thread

log = logging.getLogger(__name__)


class Recording:
    """What goes out and what comes back, held until the call has ended. Too large a one is not kept."""

    def __init__(
        self,
        task: Task,
        record_id: uuid.UUID,
        vendor: str,
        model: str,
        status: int,
        prompt: bytes,
        rules: LogRules,
    ) -> None:
        self._task, self._record_id, self._rules = task, record_id, rules
        self._vendor, self._model, self._status = vendor, model, status
        self._prompt = prompt
        self._answer: list[bytes] = []
        self._size = 0

    def add(self, piece: bytes) -> None:
        """Take a piece of the answer."""
        self._size += len(piece)
        if self._size <= MAX_RAW_BYTES:
            self._answer.append(piece)

    async def keep(self) -> None:
        """Redact and store it. A log that fails must not fail the call."""
        answer = b"".join(self._answer) if self._size <= MAX_RAW_BYTES else None
        raw = RawCall(
            org_id=self._task.org_id,
            task_id=self._task.id,
            record_id=self._record_id,
            vendor=self._vendor,
            model=self._model,
            status=self._status,
            prompt=self._prompt if len(self._prompt) <= MAX_RAW_BYTES else None,
            answer=answer,
            size_bytes=len(self._prompt) + self._size,
        )
        try:
            await run_in_thread(store_call, raw, self._rules)
        except Exception:
            log.exception("a call of task %s was not logged", self._task.id)
