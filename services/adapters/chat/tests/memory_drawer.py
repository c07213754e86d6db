"""A drawer that behaves as a link's own, kept in memory."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import replace

from services.domain.ports.chat_abilities import Entry


class MemoryDrawer:
    """Keeps entries. `is_busy` lets every write lose, as against a process that is always faster."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.is_busy = False
        self._lock = threading.Lock()

    def read(self, names: Collection[str]) -> dict[str, Entry]:
        """Return the entries that there are."""
        with self._lock:
            return {name: self.entries[name] for name in names if name in self.entries}

    def write(self, changes: Mapping[str, Entry]) -> bool:
        """Write all entries over the versions that they name, or none."""
        with self._lock:
            current = {name: self.entries.get(name, Entry("")).version for name in changes}
            if self.is_busy or any(current[name] != entry.version for name, entry in changes.items()):
                return False
            self.entries |= {
                name: replace(entry, version=entry.version + 1) for name, entry in changes.items()
            }
            return True
