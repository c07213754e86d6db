"""A connection that breaks: passes bytes on to a server, and cuts each answer after so many events."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class CuttingProxy:
    """Passes connections on to one port. Each is cut once `events` of a stream have passed, in the middle of the next.

    `connections` counts them.
    """

    def __init__(self, target_port: int, events: int) -> None:
        self._target_port, self._events = target_port, events
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0

    def serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with client, socket.create_connection(("127.0.0.1", self._target_port)) as server:
                # One request comes on each; what is sent back is what is cut.
                server.sendall(client.recv(65_536))
                self._pass_on(server, client)

    def _pass_on(self, server: socket.socket, client: socket.socket) -> None:
        left, rest = self._events, b""
        while chunk := server.recv(65_536):
            *whole, rest = (rest + chunk).split(b"\n\n")
            for frame in whole:
                with contextlib.suppress(OSError):
                    if left == 0:
                        client.sendall(frame[: len(frame) // 2])
                        return
                    client.sendall(frame + b"\n\n")
                left -= b"id: " in frame

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextlib.contextmanager
def cut_after(events: int, target_port: int) -> Iterator[CuttingProxy]:
    """Run a proxy on a thread."""
    proxy = CuttingProxy(target_port, events)
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join(5)
