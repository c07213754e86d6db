"""An inbox for tests of listeners, and a thread that listens."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from services.domain.ports.chat import InboundMessage, Parsed, Place
from services.domain.ports.chat_abilities import Listens

WITHIN_S = 5.0


class HeldInbox:
    """Keeps in memory what it is given, as soon as it is let to; `failures` are raised first."""

    def __init__(self) -> None:
        self.kept: list[Parsed] = []
        self.states: list[dict[str, Any]] = []
        self.failures: list[Exception] = []
        self._is_open = threading.Event()
        self._is_open.set()
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._attempts = 0

    def hold(self) -> None:
        """Let `keep` wait from now on."""
        self._is_open.clear()

    def let_go(self) -> None:
        """Let `keep` return."""
        self._is_open.set()

    def stop(self) -> None:
        """Tell the listener to return."""
        self._stop.set()
        self._is_open.set()

    def begin(self) -> None:
        """Be ready for another listener."""
        self._stop.clear()

    def keep(self, parsed: Parsed, state: Mapping[str, Any] | None = None) -> None:
        """Keep what came, or fail as planned."""
        is_something = bool(parsed != Parsed())
        if is_something:
            with self._changed:
                self._attempts += 1
                self._changed.notify_all()
            assert self._is_open.wait(WITHIN_S)
            if self.failures:
                raise self.failures.pop(0)
        with self._changed:
            if is_something:
                self.kept.append(parsed)
            if state is not None:
                self.states.append(json.loads(json.dumps(dict(state))))
            self._changed.notify_all()

    def load_state(self) -> dict[str, Any]:
        """Return the last state."""
        return dict(self.states[-1]) if self.states else {}

    def list_heard(self) -> list[tuple[Place, str]]:
        """List the places of the messages, each with its last."""
        return list({message.place: message.message_id for message in self.messages()}.items())

    def is_stopping(self) -> bool:
        """Say whether it was told to stop."""
        return self._stop.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait that long, or until told to stop."""
        return self._stop.wait(seconds)

    def messages(self) -> list[InboundMessage]:
        """List the messages that were kept."""
        return [message for parsed in self.kept for message in parsed.messages]

    def wait_for_attempt(self) -> None:
        """Wait until something was to be kept."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._attempts > 0, WITHIN_S)

    def wait_for_messages(self, count: int) -> list[InboundMessage]:
        """Wait until that many messages were kept."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.messages()) >= count, WITHIN_S), self.kept
        return self.messages()

    def wait_for_state(self, count: int = 1) -> dict[str, Any]:
        """Wait until a state was kept that often, and return the last."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.states) >= count, WITHIN_S)
        return self.load_state()


class ListeningThread:
    """A thread in an adapter's `listen`, with what it raised."""

    def __init__(self, adapter: Listens, config: Any, inbox: HeldInbox) -> None:
        self.error: Exception | None = None
        self._adapter, self._config, self._inbox = adapter, config, inbox
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until it has returned."""
        self._thread.join(WITHIN_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._adapter.listen(self._config, self._inbox)
        except Exception as error:
            self.error = error


@contextmanager
def heard_by(adapter: Listens, config: Any, inbox: HeldInbox) -> Iterator[ListeningThread]:
    """Listen during the block; then stop, and raise what the listener raised."""
    inbox.begin()
    listening = ListeningThread(adapter, config, inbox)
    try:
        yield listening
    finally:
        inbox.stop()
        listening.join()
    if listening.error is not None:
        raise listening.error
