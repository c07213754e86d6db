"""An inbox that behaves as the listening process's own, kept in memory, and a listener that runs in a thread."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from services.domain.errors import LeaseLost
from services.domain.ports.chat import InboundMessage, Parsed, Place
from services.domain.ports.chat_abilities import Listens


class MemoryInbox:
    """Keeps what comes, and the state as JSON. With `crashes`, keeping fails as in a process that is killed."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        self.state: dict[str, Any] = json.loads(json.dumps(state or {}))
        self.kept: list[Parsed] = []
        self.is_taken_over = False
        self.crashes = False
        self._stop = threading.Event()
        self._changed = threading.Condition()

    def keep(self, parsed: Parsed, state: Mapping[str, Any] | None = None) -> None:
        """Store what came. Raises: LeaseLost."""
        if self.is_taken_over:
            raise LeaseLost("Another process listens now.")
        if self.crashes:
            raise MemoryError("killed before anything was stored")
        with self._changed:
            self.kept.append(parsed)
            if state is not None:
                self.state = json.loads(json.dumps(state, allow_nan=False))
            self._changed.notify_all()

    def load_state(self) -> dict[str, Any]:
        """Return where to resume."""
        loaded: dict[str, Any] = json.loads(json.dumps(self.state))
        return loaded

    def list_heard(self) -> list[tuple[Place, str]]:
        """List the places of the messages, each with its last."""
        return list({message.place: message.message_id for message in self.messages()}.items())

    def is_stopping(self) -> bool:
        """Say whether to return soon."""
        return self._stop.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait that long, or until told to stop."""
        return self._stop.wait(seconds)

    def stop(self) -> None:
        """Tell the listener to return."""
        self._stop.set()

    def resumed(self) -> MemoryInbox:
        """Return an inbox for the next listener, with all that was kept."""
        following = MemoryInbox(self.state)
        following.kept = list(self.kept)
        return following

    def messages(self) -> list[InboundMessage]:
        """List the messages, each key once."""
        found: dict[str, InboundMessage] = {}
        for parsed in list(self.kept):
            for message in parsed.messages:
                found.setdefault(message.dedupe_key, message)
        return list(found.values())

    def ignored(self) -> list[str]:
        """List the reasons for which something was not kept."""
        return [parsed.ignored for parsed in list(self.kept) if parsed.ignored]

    def wait_for_messages(self, count: int) -> None:
        """Wait until there are so many messages. Raises: TimeoutError."""
        self.wait_until(lambda: len(self.messages()) == count)

    def wait_until(self, holds: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Wait until something holds of what was kept. Raises: TimeoutError."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not holds():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"kept: {self.kept}")
                self._changed.wait(min(left, 0.2))


class Listener:
    """A listener in a thread. `error` is what ended it."""

    def __init__(self, adapter: Listens, config: Any, inbox: MemoryInbox) -> None:
        self.error: BaseException | None = None
        self._inbox = inbox
        self._thread = threading.Thread(target=self._run, args=(adapter, config), daemon=True)
        self._thread.start()

    def _run(self, adapter: Listens, config: Any) -> None:
        try:
            adapter.listen(config, self._inbox)
        except BaseException as error:
            self.error = error

    def join(self, timeout_s: float = 5.0) -> None:
        """Wait for its end. Raises: TimeoutError."""
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError("the listener does not end")


@contextmanager
def listening(adapter: Any, config: Any, inbox: MemoryInbox) -> Iterator[Listener]:
    """Listen while the block runs; what ends the listener meanwhile is in its `error`."""
    listener = Listener(adapter, config, inbox)
    try:
        yield listener
    finally:
        inbox.stop()
        listener.join()


def listened(adapter: Any, config: Any, inbox: MemoryInbox, holds: Callable[[], bool]) -> None:
    """Listen until something holds. Raises what ended the listener before that."""
    with listening(adapter, config, inbox) as listener:
        inbox.wait_until(lambda: listener.error is not None or holds())
    if listener.error is not None:
        raise listener.error
