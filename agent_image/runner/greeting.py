"""The first hello, said while the rest of the runner is still being loaded.

Loading takes half as long as the engine's start, and the gateway needs as long to find the turn: so both go on at once.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence

from agent_image.runner.ids import new_uuid
from agent_image.runner.text import encode
from agent_image.runner.wire import (
    LinkClosed,
    Opcode,
    check_upgrade,
    encode_frame,
    make_key,
    upgrade_request,
)

PROTOCOL = 1
TARGET = "/runner"
DEFAULT_SOCKET = "/run/slipway/gw.sock"
TIMEOUT_S = 10.0
_MAX_HEAD_BYTES = 65_536


def hello_frame(
    journal: str, *, oldest: int = 1, turn: str | None = None, finished: Sequence[str] = ()
) -> bytes:
    """Return the text of the first frame of a connection, as docs/link.md has it."""
    hello = {"op": "hello", "protocol": PROTOCOL, "journal": journal, "oldest": oldest}
    return encode({**hello, "turn": turn, "finished": list(finished)})


class Greeting:
    """A connection on which hello is said for a journal that is still empty, in a thread of its own."""

    def __init__(self, socket_path: str) -> None:
        self.journal_id = new_uuid()
        self._socket_path = socket_path
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._greet, name="greeting", daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether hello is said, or could not be: after 10 s at most."""
        return not self._thread.is_alive()

    def take(self) -> socket.socket | None:
        """Return the connection on which hello is said, or None when there is none. It is the caller's then."""
        self._thread.join()
        return self._socket

    def _greet(self) -> None:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(TIMEOUT_S)
            connection.connect(self._socket_path)
            key = make_key()
            connection.sendall(upgrade_request(TARGET, key))
            check_upgrade(_read_head(connection), key)
            connection.sendall(encode_frame(Opcode.TEXT, hello_frame(self.journal_id)))
        except (OSError, LinkClosed):
            connection.close()
        else:
            self._socket = connection


def _read_head(connection: socket.socket) -> bytes:
    """Read up to the empty line: the gateway says nothing after it before it has heard hello."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = connection.recv(4_096)
        if not piece or len(head) > _MAX_HEAD_BYTES:
            raise LinkClosed("the connection was cut")
        head += piece
    return head
