"""WebSockets of ours to platforms: the library's client with our timeouts and errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.sync.client import ClientConnection, connect

from services.adapters.chat.wire import read_object
from services.domain.errors import PlatformAway

OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0
# How soon a listener that is told to stop notices, and how late it does anything by the clock.
TICK_S = 0.5


class SocketClosed(Exception):
    """The platform closed the connection, or it broke: `code` is the close code, 1006 without one."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code, self.reason = code, reason


class Socket:
    """One open connection, on which JSON objects go both ways."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def receive(self, timeout_s: float) -> dict[str, Any] | None:
        """Return the next object, None when there was none in time. Raises: SocketClosed, MalformedBody."""
        try:
            frame = self._connection.recv(timeout=timeout_s)
        except TimeoutError:
            return None
        except ConnectionClosed as error:
            raise _closed(error) from error
        return read_object(frame.encode() if isinstance(frame, str) else bytes(frame))

    def send(self, message: dict[str, Any]) -> None:
        """Send an object. Raises: SocketClosed."""
        try:
            self._connection.send(json.dumps(message))
        except ConnectionClosed as error:
            raise _closed(error) from error


@contextmanager
def open_socket(
    url: str,
    *,
    label: str,
    max_bytes: int = 2**20,
    ping_every_s: float | None = 20.0,
    close_code: int = 1000,
) -> Iterator[Socket]:
    """Open a connection, and close it at the end with a code. Raises: PlatformAway."""
    try:
        connection = connect(
            url,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=ping_every_s,
            max_size=max_bytes,
            legacy=True,
        )
    except (OSError, InvalidHandshake, InvalidURI, EOFError) as error:
        raise PlatformAway(
            f"{label} does not take the connection.", retry_after_s=1.0, may_have_arrived=False
        ) from error
    try:
        yield Socket(connection)
    finally:
        connection.close(close_code)


def _closed(error: ConnectionClosed) -> SocketClosed:
    received = error.rcvd
    return SocketClosed(received.code if received else 1006, received.reason if received else "")
