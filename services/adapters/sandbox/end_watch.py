"""Waits for the ends of processes that are nobody's children, by descriptors that the kernel makes readable."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from uuid import UUID

from services.adapters.sandbox import proc
from services.adapters.sandbox.ended import OwnEnds

_ROUND_S = 0.5

Known = tuple[UUID, int, int]  # a sandbox, its first process, and when that was started


class EndWatch:
    """The processes of sandboxes, watched from the making of this object on; `known` lists them, ended ones too."""

    def __init__(self, known: Callable[[], list[Known]], own_ends: OwnEnds) -> None:
        self._known = known
        self._own_ends = own_ends
        self._watched: dict[int, Known] = {}
        self._over: set[Known] = set()
        self._scan()  # what is over already is no news

    def read(self, stop: threading.Event) -> Iterator[UUID]:
        """Yield the sandboxes that end without our doing; one started meanwhile is noticed within half a second."""
        poll = select.poll()
        try:
            while not stop.is_set():
                ended = self._scan()
                for descriptor in self._watched:
                    poll.register(descriptor, select.POLLIN)
                for descriptor, _ in poll.poll(0 if ended else _ROUND_S * 1000):
                    poll.unregister(descriptor)
                    os.close(descriptor)
                    process = self._watched.pop(descriptor)
                    self._over.add(process)
                    ended.append(process[0])
                yield from (one for one in ended if not stop.is_set() and not self._own_ends.take(one))
        finally:
            for descriptor in self._watched:
                os.close(descriptor)

    def _scan(self) -> list[UUID]:
        """Watch the processes that are not watched yet; return the sandboxes that began and ended unwatched."""
        missed = []
        known = self._known()
        self._over &= set(known)
        for process in set(known) - self._over - set(self._watched.values()):
            descriptor = _open(process)
            if descriptor is not None:
                self._watched[descriptor] = process
            else:
                self._over.add(process)
                missed.append(process[0])
        return missed


def _open(process: Known) -> int | None:
    """Open a descriptor that becomes readable when the process ends; None when it has ended."""
    _, pid, started = process
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if proc.is_alive(pid, started):
        return descriptor
    os.close(descriptor)  # the number went to another process
    return None
