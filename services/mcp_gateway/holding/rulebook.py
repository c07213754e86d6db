"""The rules of organisations, read at most once a second each; and the chats that tasks came from."""

from __future__ import annotations

import asyncio
import time
import uuid

from services.domain.approvals.checking import chat_of
from services.domain.approvals.rule_queries import list_rules_in_force
from services.domain.approvals.rules import Rule
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.mcp_gateway.threads import run_in_thread

TTL_S = 1.0
_MOST = 5_000


class Rulebook:
    """What calls are judged by. A rule that is made, changed or removed counts within TTL_S."""

    def __init__(self) -> None:
        self._known: dict[uuid.UUID, tuple[float, list[Rule]]] = {}
        self._reading: dict[uuid.UUID, asyncio.Task[list[Rule]]] = {}
        self._chats: dict[uuid.UUID, uuid.UUID | None] = {}

    async def rules_of(self, org_id: uuid.UUID) -> list[Rule]:
        """Return an organisation's rules; one reading for all who ask at once."""
        known = self._known.get(org_id)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        reading = self._reading.get(org_id)
        if reading is None:
            reading = self._reading[org_id] = asyncio.create_task(self._read(org_id))
            reading.add_done_callback(lambda read: self._was_read(org_id, read))
        return await asyncio.shield(reading)

    async def chat_of(self, task: Task) -> uuid.UUID | None:
        """Return the chat that a task came from; that never changes."""
        if task.id not in self._chats:
            if len(self._chats) >= _MOST:
                self._chats.clear()
            self._chats[task.id] = await run_in_thread(_find_chat, task)
        return self._chats[task.id]

    async def _read(self, org_id: uuid.UUID) -> list[Rule]:
        # From the beginning of the reading: what it finds is as old as that.
        good_until = time.monotonic() + TTL_S
        rules = await run_in_thread(_find_rules, org_id)
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[org_id] = (good_until, rules)
        return rules

    def _was_read(self, org_id: uuid.UUID, reading: asyncio.Task[list[Rule]]) -> None:
        self._reading.pop(org_id, None)
        if not reading.cancelled():
            # Looked at, so that it does not complain when nobody waits for it any more.
            reading.exception()


def _find_rules(org_id: uuid.UUID) -> list[Rule]:
    with tenant_transaction(org_id):
        return list_rules_in_force()


def _find_chat(task: Task) -> uuid.UUID | None:
    with tenant_transaction(task.org_id):
        return chat_of(task)
