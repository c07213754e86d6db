"""Which sandboxes this process ended itself: their ends are no news to whoever watches for ends."""

from __future__ import annotations

import threading
from collections import OrderedDict
from uuid import UUID

_MOST = 10_000


class OwnEnds:
    """The ids of sandboxes that were stopped or destroyed here and whose end was not seen yet; the latest are kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids: OrderedDict[UUID, None] = OrderedDict()

    def add(self, sandbox_id: UUID) -> None:
        with self._lock:
            self._ids[sandbox_id] = None
            if len(self._ids) > _MOST:
                self._ids.popitem(last=False)

    def forget(self, sandbox_id: UUID) -> None:
        """Take back what `add` noted: it is started again."""
        self.take(sandbox_id)

    def take(self, sandbox_id: UUID) -> bool:
        """Say whether its end was our doing, and forget it."""
        with self._lock:
            return self._ids.pop(sandbox_id, self) is None
