"""What a call is judged by, kept in memory. That it is the newest is checked where the call's money is reserved."""

from __future__ import annotations

import uuid
from collections import OrderedDict

from services.domain.llm.rules import Rules, current_versions, load_rules
from services.mcp_gateway.threads import run_in_thread

MOST_KEPT = 1_000


class RulesKept:
    """The rules of the organisations that called last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[uuid.UUID, Rules] = OrderedDict()

    async def find(self, org_id: uuid.UUID) -> Rules:
        """Return an organisation's rules, which may have changed meanwhile."""
        rules = self._kept.get(org_id)
        if rules is None:
            return await self.renew(org_id)
        self._kept.move_to_end(org_id)
        return rules

    async def renew(self, org_id: uuid.UUID) -> Rules:
        """Read an organisation's rules anew."""
        rules = await run_in_thread(load_rules, org_id)
        self._kept[org_id] = rules
        self._kept.move_to_end(org_id)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return rules

    async def newest(self, org_id: uuid.UUID) -> Rules:
        """Return an organisation's rules as they are now; for calls that reserve nothing."""
        rules = self._kept.get(org_id)
        if rules is None or rules.versions != await run_in_thread(current_versions, org_id):
            return await self.renew(org_id)
        return rules
