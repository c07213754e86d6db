"""How many bytes each workspace has sent and received through the proxy, until that is written down."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable

from services.mcp_gateway.threads import run_in_thread

log = logging.getLogger(__name__)

Owner = tuple[uuid.UUID, uuid.UUID]
"""An organisation and a workspace of it."""

NoteNetwork = Callable[[uuid.UUID, uuid.UUID, int, int], None]


class Traffic:
    """One for all sandboxes of this host."""

    def __init__(self) -> None:
        self._counts: dict[Owner, tuple[int, int]] = {}

    def add(self, owner: Owner, sent: int, received: int) -> None:
        """Count bytes."""
        before = self._counts.get(owner, (0, 0))
        self._counts[owner] = (before[0] + sent, before[1] + received)

    def take(self) -> dict[Owner, tuple[int, int]]:
        """Return what was counted since the last time."""
        taken, self._counts = self._counts, {}
        return taken

    async def write_down(self, note: NoteNetwork) -> None:
        """Hand everything over to be kept; what cannot be handed over now is counted on."""
        for owner, (sent, received) in self.take().items():
            try:
                await run_in_thread(note, *owner, sent, received)
            except Exception:
                log.exception("traffic of workspace %s was not written down; it will be", owner[1])
                self.add(owner, sent, received)
