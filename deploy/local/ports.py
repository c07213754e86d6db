"""Free TCP ports on loopback."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Collection

# Below the range from which Linux takes the local ports of outgoing connections (32768 and up): a kept port
# must still be free after a restart.
_FIRST, _LAST = 20_000, 31_999


def is_free(port: int) -> bool:
    """Say whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def pick_port(taken: Collection[int]) -> int:
    """Return a free loopback port that is not among those taken."""
    for _ in range(1000):
        port = _FIRST + secrets.randbelow(_LAST - _FIRST + 1)
        if port not in taken and is_free(port):
            return port
    raise OSError("no free loopback port found")
