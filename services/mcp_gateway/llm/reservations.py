"""The money of each call under way, from the reservation to the one settlement."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable

from services.domain.llm.rates import Tokens
from services.domain.llm.rules import Rules
from services.domain.llm.spending import reserve, settle
from services.domain.tasks.models import Task
from services.kit.clock import now
from services.mcp_gateway.llm.replies import rate_limited
from services.mcp_gateway.llm.vendor import Target
from services.mcp_gateway.threads import run_in_thread

log = logging.getLogger(__name__)

NOTHING = Tokens()
MOST_AT_ONCE = 64
"""Calls of one task under way: more than any agent needs, fewer than would crowd out the others."""


class Reservation:
    """One call's money. Settles once, and also while the request around it is being cancelled."""

    def __init__(self, record_id: uuid.UUID, settle_at: Callable[[Tokens | None], Awaitable[None]]) -> None:
        self.record_id = record_id
        self._settle_at = settle_at
        self._settling: asyncio.Future[None] | None = None

    async def settle(self, used: Tokens | None) -> None:
        """Settle at what was used; None means that nobody knows. Only the first call counts."""
        if self._settling is None:
            self._settling = asyncio.ensure_future(self._settle_at(used))
        # A cancelled request must not take the settlement with it.
        await asyncio.shield(self._settling)


class Reservations:
    """Makes reservations, and knows how many of each task are open in this process."""

    def __init__(self) -> None:
        self._open: Counter[uuid.UUID] = Counter()

    async def make(self, task: Task, model: str, most: Tokens, rules: Rules, target: Target) -> Reservation:
        """Set the money for a call aside, and put the use of an own key on record.

        Raises: BudgetExceeded, TaskMissing, TokenInvalid, RulesChanged, Refusal.
        """
        if self._open[task.id] >= MOST_AT_ONCE:
            raise rate_limited(f"The task has {MOST_AT_ONCE} model calls under way.", 2)
        self._open[task.id] += 1
        try:
            reserved = await run_in_thread(
                reserve,
                task.org_id,
                task.id,
                kind="llm",
                model=model,
                most=most,
                price=rules.prices.price_of(model, now()),
                llm_key_id=target.llm_key_id,
                versions=rules.versions,
            )
        except BaseException:
            self._close(task)
            raise

        async def settle_at(used: Tokens | None) -> None:
            try:
                await run_in_thread(settle, reserved, used)
            except Exception:
                # The sweep settles it at its estimate; the answer has gone out and must not fail for this.
                log.exception("usage record %s was not settled", reserved.record_id)
            finally:
                self._close(task)

        reservation = Reservation(reserved.record_id, settle_at)
        try:
            await target.note_use(task)
        except BaseException:
            await reservation.settle(NOTHING)
            raise
        return reservation

    def _close(self, task: Task) -> None:
        self._open[task.id] -= 1
        if not self._open[task.id]:
            del self._open[task.id]
