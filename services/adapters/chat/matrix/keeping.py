"""What a link keeps of its encryption, as JSON entries of its drawer, changed together or not at all.

Each ratchet must move once for each message, whoever moves it, or two messages are encrypted alike. So nothing that was
encrypted leaves this process before the entry is written, and an entry is written only over what was read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from services.domain.errors import PlatformAway
from services.domain.ports.chat_abilities import Drawer, Entry

T = TypeVar("T")

_MOST_TRIES = 12


class Sheet:
    """Entries as they are in one try, each read when it is asked for. Changes to them stay here until `commit`."""

    def __init__(self, drawer: Drawer) -> None:
        self._drawer = drawer
        self._read: dict[str, Entry] = {}
        self._values: dict[str, dict[str, Any]] = {}

    async def entries(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """Return entries, to be changed in place; empty ones for those that are not there."""
        asked = list(names)
        new = [name for name in dict.fromkeys(asked) if name not in self._values]
        # The drawer waits for the database, which no event loop may.
        found = await asyncio.to_thread(self._drawer.read, new) if new else {}
        for name in new:
            self._read[name] = found.get(name, Entry("{}"))
            self._values[name] = json.loads(self._read[name].text)
        return [self._values[name] for name in asked]

    async def entry(self, name: str) -> dict[str, Any]:
        """Return one entry, to be changed in place."""
        return (await self.entries([name]))[0]

    async def commit(self) -> bool:
        """Write what was changed; False when another process was faster."""
        texts = {name: json.dumps(value, sort_keys=True) for name, value in self._values.items()}
        changes = {
            name: Entry(text, self._read[name].version, self._values[name].get("keep_days"))
            for name, text in texts.items()
            if json.loads(self._read[name].text) != self._values[name]
        }
        return not changes or await asyncio.to_thread(self._drawer.write, changes)


async def change(drawer: Drawer, act: Callable[[Sheet], Awaitable[T]]) -> T:
    """Change entries, and return what `act` does. It may run several times, and reaches nothing but the sheet.

    Raises: PlatformAway when others are always faster.
    """
    for _ in range(_MOST_TRIES):
        sheet = Sheet(drawer)
        result = await act(sheet)
        if await sheet.commit():
            return result
    raise PlatformAway("The link's keys are in use.", retry_after_s=1.0, may_have_arrived=False)
