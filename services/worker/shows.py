"""Shows answers in chats while they are written: one loop in each worker process, over the tasks whose lease it holds.

Where a platform can, the text grows in a stream of its own or in a message that is edited; elsewhere, and until there
is text, it shows that the agent is at work. The loop reads the workspaces' live streams in Redis; what it posts is on
record before and after, so that whoever delivers the answer puts it in the place of what is shown.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import redis
from django.db import DatabaseError, connections

from services.domain.chats.shows import (
    SHOW_LEASE,
    all_tenants_list_unshown,
    all_tenants_renew_shows,
    claim_show,
    release_show,
)
from services.domain.errors import SlipwayError
from services.kit.redisbus import client, stream_key
from services.worker.jobs import chats
from services.worker.showing import Showing

log = logging.getLogger(__name__)

LOOK_S = 1.0
RENEW_S = SHOW_LEASE.total_seconds() / 4
MOST_HELD = 100
THREADS = 8
STOP_S = 10.0
_BLOCK_MS = 150
_ENTRIES = 500


class Shows:
    """The answers that this process shows."""

    def __init__(self) -> None:
        self._held: dict[uuid.UUID, Showing] = {}
        self._positions: dict[str, bytes | str] = {}
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="shows")
        self._look_at = self._renew_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Show until told to stop. Redis or the database being away costs what would have been seen meanwhile."""
        while not stop.is_set():
            try:
                self._round(stop)
            except (redis.RedisError, DatabaseError) as error:
                log.warning("answers are not shown for a moment: %s", error)
                stop.wait(LOOK_S)
            except Exception:
                log.exception("a round of showing answers failed")
                stop.wait(LOOK_S)
            finally:
                connections.close_all()
        self._pool.shutdown(wait=True)
        self._release_all()

    def _round(self, stop: threading.Event) -> None:
        moment = time.monotonic()
        if moment >= self._renew_at and self._held:
            self._renew_at = moment + RENEW_S
            self._renew()
        if moment >= self._look_at:
            self._look_at = moment + LOOK_S
            self._claim()
        if not self._held:
            stop.wait(max(0.0, self._look_at - time.monotonic()))
            return
        self._read()
        for showing in list(self._held.values()):
            if showing.is_busy:
                continue
            if showing.answer.is_over or showing.is_lost():
                self._let_go(showing)
            elif showing.is_due():
                showing.is_busy = True
                self._pool.submit(showing.advance)

    def _claim(self) -> None:
        room = MOST_HELD - len(self._held)
        for org_id, task_id in all_tenants_list_unshown(limit=room) if room > 0 else ():
            try:
                self._claim_one(org_id, task_id)
            except (SlipwayError, LookupError, ValueError) as error:
                # A link whose configuration cannot be read must not keep the others waiting.
                log.warning("the answer of task %s is not shown: %s", task_id, error)

    def _claim_one(self, org_id: uuid.UUID, task_id: uuid.UUID) -> None:
        show = claim_show(org_id, task_id)
        if show is None:
            return
        showing = Showing(show, chats.adapters()[show.kind])
        self._held[show.id] = showing
        key = stream_key(show.stream)
        # What comes behind the place of an older show of the same workspace is read for both.
        until = self._positions.get(key, "+")
        known: Any = client().xrange(key, max=until)
        for entry_id, fields in known:
            showing.take(_read_envelope(fields))
            if until == "+":
                self._positions[key] = entry_id

    def _renew(self) -> None:
        tokens = {showing.show.lease_token: showing for showing in self._held.values()}
        states = all_tenants_renew_shows(list(tokens))
        for token, showing in tokens.items():
            if token in states:
                showing.renewed_at = time.monotonic()
                showing.answer.is_over = showing.answer.is_over or states[token]
            else:
                showing.renewed_at = float("-inf")

    def _read(self) -> None:
        by_key: dict[str, list[Showing]] = {}
        for showing in self._held.values():
            by_key.setdefault(stream_key(showing.show.stream), []).append(showing)
        answer: Any = client().xread(
            {key: self._positions.get(key, "0-0") for key in by_key}, count=_ENTRIES, block=_BLOCK_MS
        )
        for name, entry_id, fields in _flatten(answer):
            self._positions[name] = entry_id
            for showing in by_key[name]:
                showing.take(_read_envelope(fields))

    def _let_go(self, showing: Showing) -> None:
        del self._held[showing.show.id]
        held_streams = {one.show.stream for one in self._held.values()}
        if showing.show.stream not in held_streams:
            self._positions.pop(stream_key(showing.show.stream), None)
        if not showing.is_lost():
            release_show(showing.show)

    def _release_all(self) -> None:
        """Give every lease back, so that the next worker need not wait until they are over."""
        for showing in list(self._held.values()):
            try:
                self._let_go(showing)
            except DatabaseError as error:
                log.warning("a lease was not given back and ends by itself: %s", error)
        connections.close_all()


class ShowsThread(threading.Thread):
    """Shows answers until it is told to stop, and then gives their leases back."""

    def __init__(self) -> None:
        super().__init__(daemon=True, name="shows")
        self._stop_asked = threading.Event()

    def run(self) -> None:
        """Show."""
        Shows().run(self._stop_asked)

    def stop(self) -> None:
        """Stop, and wait for a while: what a platform takes too long for is left to the leases' end."""
        self._stop_asked.set()
        self.join(STOP_S)


def _flatten(answer: Any) -> Iterator[tuple[str, bytes, Any]]:
    """Give key, id and fields of each entry: protocol 3 answers with a dictionary of lists of lists, 2 with pairs."""
    pairs = answer.items() if isinstance(answer, dict) else answer or ()
    for key, entries in pairs:
        rows = [row for batch in entries for row in batch] if isinstance(answer, dict) else entries
        for entry_id, fields in rows:
            yield key.decode(), entry_id, fields


def _read_envelope(fields: Any) -> dict[str, Any]:
    try:
        envelope = json.loads(fields.get(b"e", b"{}"))
    except ValueError:
        return {}
    return envelope if isinstance(envelope, dict) else {}
