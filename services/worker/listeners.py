"""Listening to links: a thread for each that this process holds the lease of, tried again when it ends."""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any

from django.db import DatabaseError, connections
from prometheus_client import Counter, Gauge

from services.domain.chats.actions import read_link_config
from services.domain.chats.drawers import configured
from services.domain.chats.intake import count_of
from services.domain.chats.listening import (
    LEASE,
    Lease,
    all_tenants_free_links,
    all_tenants_renew,
    all_tenants_take_link,
    keep_heard,
    list_heard,
    load_state,
    note_listener_stopped,
    release_link,
)
from services.domain.chats.models import Link
from services.domain.errors import LeaseLost, Permanent, SlipwayError, Temporary
from services.domain.ports.chat import ChatAdapter, Parsed, Place
from services.domain.ports.chat_abilities import Listens
from services.kit.vault import VaultError

log = logging.getLogger(__name__)

# What a person has to mend is tried again now and then: they may mend it where we do not see it.
REFUSED_PAUSE_S = 300.0
LONGEST_PAUSE_S = 60.0
SIGN_OF_LIFE_S = 15.0
MAX_LINKS = 1_000

_held = Gauge("slipway_listeners", "Links that this process listens to, by platform.", ["kind"])
_kept = Counter(
    "slipway_listener_kept_total", "What listeners were given, by what became of it.", ["kind", "outcome"]
)
_ended = Counter(
    "slipway_listener_ends_total", "How listening ended, before it was tried again.", ["kind", "why"]
)


class LinkInbox:
    """The port's inbox for one lease. `is_heard` says whether anything came since `begin`."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._stop = threading.Event()
        self._seen_at = 0.0
        self.is_heard = False

    def begin(self) -> None:
        """Note that listening begins anew."""
        self.is_heard, self._seen_at = False, 0.0

    def stop(self) -> None:
        """Tell the listener to return."""
        self._stop.set()

    def keep(self, parsed: Parsed, state: Mapping[str, Any] | None = None) -> None:
        """Store what came and where to resume. With neither it is a sign of life. Raises: LeaseLost."""
        count = count_of(parsed)
        is_empty = not count and state is None and parsed.ignored is None
        if is_empty and time.monotonic() - self._seen_at < SIGN_OF_LIFE_S:
            return
        try:
            stored = keep_heard(self._lease, parsed, state)
        finally:
            connections.close_all()
        self.is_heard, self._seen_at = True, time.monotonic()
        kind = self._lease.handle.kind
        _kept.labels(kind, "stored").inc(stored)
        _kept.labels(kind, "repeat").inc(count - stored)
        if parsed.ignored is not None:
            _kept.labels(kind, parsed.ignored).inc()

    def load_state(self) -> dict[str, Any]:
        """Return where to resume. Raises: LeaseLost."""
        try:
            return load_state(self._lease)
        finally:
            connections.close_all()

    def list_heard(self) -> list[tuple[Place, str]]:
        """List where something was heard lately, and the last message from there."""
        try:
            return list_heard(self._lease.handle)
        finally:
            connections.close_all()

    def is_stopping(self) -> bool:
        """Say whether to return soon."""
        return self._stop.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait that long, or until told to stop."""
        return self._stop.wait(seconds)


class Listener:
    """One link, listened to in a thread of its own until it is told to stop or loses its lease."""

    def __init__(self, lease: Lease, adapter: Listens, config: Any) -> None:
        self.lease = lease
        self._adapter, self._config = adapter, config
        self._inbox = LinkInbox(lease)
        self._failures = 0
        name = f"listen:{lease.handle.kind}:{lease.handle.link_id}"
        self._thread = threading.Thread(target=self._run, daemon=True, name=name)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Tell it to end; it does so within seconds."""
        self._inbox.stop()

    def has_ended(self, wait_s: float = 0.0) -> bool:
        """Say whether it has ended, waiting that long for it."""
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        kind = self.lease.handle.kind
        with _held.labels(kind).track_inprogress():
            while not self._inbox.is_stopping():
                self._inbox.begin()
                try:
                    self._adapter.listen(self._config, self._inbox)
                except LeaseLost:
                    return
                except Exception as error:
                    pause_s = self._pause_after(error)
                else:
                    _ended.labels(kind, "returned").inc()
                    pause_s = 0.0 if self._inbox.is_heard else self._next_pause()
                self._inbox.wait(pause_s)

    def _pause_after(self, error: Exception) -> float:
        """Record an error, and return how long to wait before the next attempt."""
        pause_s = self._next_pause()
        match error:
            case Permanent():
                why, pause_s = "refused", REFUSED_PAUSE_S
            case Temporary():
                why, pause_s = "away", max(pause_s, error.retry_after_s)
            case _:
                why = "error"
                log.error("listening to link %s failed", self.lease.handle.link_id, exc_info=error)
        _ended.labels(self.lease.handle.kind, why).inc()
        said = error.message if isinstance(error, SlipwayError) else "Listening failed; it is tried again."
        try:
            note_listener_stopped(self.lease, error=said, needs_person=isinstance(error, Permanent))
        except DatabaseError as failure:
            log.warning("the end of listening to %s is not noted: %s", self.lease.handle.link_id, failure)
        finally:
            connections.close_all()
        return pause_s

    def _next_pause(self) -> float:
        self._failures = 1 if self._inbox.is_heard else min(self._failures + 1, 10)
        return min(2.0**self._failures, LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)  # noqa: S311


class Listeners:
    """All that this process listens to. `round` is called over and over, by one thread."""

    def __init__(self, adapters: Mapping[str, ChatAdapter], holder: str) -> None:
        self._adapters = {kind: one for kind, one in adapters.items() if isinstance(one, Listens)}
        self._holder = holder
        self._running: dict[uuid.UUID, Listener] = {}
        self._renewed_at = time.monotonic()
        self._unwanted: dict[uuid.UUID, bytes] = {}

    def round(self) -> None:
        """Renew what is held, end what is lost, take what is free. Raises: DatabaseError."""
        began = time.monotonic()
        try:
            held = all_tenants_renew([listener.lease.token for listener in self._running.values()])
        except DatabaseError:
            if time.monotonic() - self._renewed_at > LEASE.total_seconds():
                self._stop_all()
            raise
        self._renewed_at = began
        for link_id, listener in list(self._running.items()):
            if listener.lease.token not in held:
                listener.stop()
            if listener.has_ended():
                release_link(listener.lease)
                del self._running[link_id]
        self._take_free()

    def drain(self, within_s: float) -> None:
        """End all, and give the leases back so that other processes go on."""
        self._stop_all()
        deadline = time.monotonic() + within_s
        for listener in self._running.values():
            listener.has_ended(max(deadline - time.monotonic(), 0.0))
        for listener in self._running.values():
            release_link(listener.lease)
        self._running.clear()

    def holds(self, link_id: uuid.UUID) -> bool:
        """Say whether this process listens to a link."""
        return link_id in self._running

    def _stop_all(self) -> None:
        for listener in self._running.values():
            listener.stop()

    def _take_free(self) -> None:
        for link in all_tenants_free_links(self._adapters):
            if len(self._running) >= MAX_LINKS:
                return
            try:
                if link.id not in self._running and self._is_wanted(link):
                    self._take(link)
            except (VaultError, ValueError) as error:
                log.warning("link %s cannot be listened to: %s", link.id, type(error).__name__)
                self._unwanted[link.id] = bytes(link.sealed_config)

    def _is_wanted(self, link: Link) -> bool:
        """Say whether a link is to be listened to; what is not is looked at again only when it changes.

        Raises: VaultError, ValueError.
        """
        sealed = bytes(link.sealed_config)
        if self._unwanted.get(link.id) == sealed:
            return False
        adapter = self._adapters[link.kind]
        if adapter.wants_listener(adapter.config_model.model_validate(read_link_config(link))):
            return True
        self._unwanted[link.id] = sealed
        return False

    def _take(self, link: Link) -> None:
        lease = all_tenants_take_link(link, self._holder)
        if lease is None:
            return
        adapter = self._adapters[link.kind]
        handle = lease.handle
        config = configured(adapter, handle.config, handle.org_id, handle.link_id)
        listener = Listener(lease, adapter, config)
        self._running[link.id] = listener
        listener.start()
