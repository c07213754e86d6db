"""Keeps the leases of tasks whose sandbox is being brought up, however long that takes."""

from __future__ import annotations

import logging
import threading
import uuid

from django.db import DatabaseError, connections

from services.domain.tasks.dispatch import START_LEASE, renew_start
from services.domain.tasks.models import Task

log = logging.getLogger(__name__)

_EVERY_S = START_LEASE.total_seconds() / 4


class LeaseKeeper:
    """Renews the leases that it was given from one thread, which runs while there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[uuid.UUID, Task] = {}
        self._changed = threading.Event()
        self._is_running = False

    def keep(self, task: Task) -> None:
        """Renew the task's lease from now on."""
        with self._lock:
            self._held[task.id] = task
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, daemon=True, name="leases").start()

    def drop(self, task: Task) -> None:
        """Renew the task's lease no more."""
        with self._lock:
            self._held.pop(task.id, None)
            if not self._held:
                self._changed.set()

    def _run(self) -> None:
        while True:
            self._changed.wait(_EVERY_S)
            with self._lock:
                self._changed.clear()
                held = list(self._held.values())
                if not held:
                    self._is_running = False
                    return
            try:
                for task in held:
                    renew_start(task.org_id, task.id, task.lease_token)
            except DatabaseError as error:
                log.warning("leases of starts not renewed: %s", error)
            finally:
                connections.close_all()
