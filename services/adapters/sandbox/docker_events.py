"""What the Docker engine tells of containers that end, as it happens."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from typing import Protocol
from uuid import UUID

from services.adapters.sandbox.ended import OwnEnds
from services.adapters.sandbox.engine_failures import ContainerGone, EngineConflict, mapped_failures
from services.domain.errors import EngineAway

_HANG_UP_S = 0.2


class Events(Protocol):
    """The engine's stream of events: one JSON text each. `close` may be called by another thread."""

    def __iter__(self) -> Iterator[bytes | str]: ...

    def close(self) -> None: ...


def read_ends(
    events: Events, stop: threading.Event, own_ends: OwnEnds, *, sandbox_label: str
) -> Iterator[UUID]:
    """Yield the sandboxes that end without our doing; a thread hangs up when it is time to stop. Raises: EngineAway."""
    over = threading.Event()

    def hang_up() -> None:
        while not over.is_set() and not stop.wait(_HANG_UP_S):
            pass
        events.close()

    threading.Thread(target=hang_up, name="docker-events", daemon=True).start()
    try:
        for line in _lines(events):
            sandbox_id = UUID(json.loads(line)["Actor"]["Attributes"][sandbox_label])
            if not stop.is_set() and not own_ends.take(sandbox_id):
                yield sandbox_id
    finally:
        over.set()
    if not stop.is_set():
        raise EngineAway("The container engine stopped to tell what happens.", retry_after_s=1.0)


def _lines(events: Iterable[bytes | str]) -> Iterator[bytes | str]:
    try:
        with mapped_failures("listening to the engine"):
            yield from events
    except (ContainerGone, EngineConflict) as exc:
        raise EngineAway("The container engine answers something else.", retry_after_s=1.0) from exc
