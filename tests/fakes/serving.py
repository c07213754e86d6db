"""Runs an ASGI app on loopback, on a thread of the test or as a process, and lets tests wait for calls."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self

import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send


class LocalServer:
    """One app on one loopback port, served from a thread between `start` and `stop`."""

    def __init__(
        self,
        app: ASGIApp,
        port: int = 0,
        *,
        lifespan: Literal["on", "off"] = "off",
        has_sockets: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._socket = socket.create_server(("127.0.0.1", port))
        # asyncio sets this only on sockets that it made; without it each answer waits 40 ms for an acknowledgement.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            http="h11",
            ws="websockets-sansio" if has_sockets else "none",
            loop="asyncio",
            lifespan=lifespan,
            log_level="critical",
            access_log=False,
            timeout_graceful_shutdown=1,
            ssl_context_factory=None if tls is None else lambda *_: tls,
        )
        self._scheme = "http" if tls is None else "https"
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name=f"fake:{self.port}", daemon=True
        )

    @property
    def url(self) -> str:
        """The server's address, without a slash at the end."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start to serve; the socket listens already, so that callers need not wait."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop and wait for the thread."""
        self._server.should_exit = True
        self._thread.join(5)
        self._socket.close()

    def run_here(self) -> None:
        """Serve on this thread until a signal ends it."""
        self._server.run(sockets=[self._socket])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class Journal:
    """Everything that was recorded, in order, for tests that wait for it."""

    def __init__(self) -> None:
        self._entries: list[dict[str, Any]] = []
        self._changed = threading.Condition()

    def add(self, entry: dict[str, Any]) -> None:
        """Record one entry."""
        with self._changed:
            self._entries.append(entry)
            self._changed.notify_all()

    def all(self) -> list[dict[str, Any]]:
        """List what is recorded."""
        with self._changed:
            return list(self._entries)

    def clear(self) -> None:
        """Forget all."""
        with self._changed:
            self._entries.clear()

    def wait_for(
        self,
        count: int,
        where: Callable[[dict[str, Any]], bool] = lambda entry: True,
        timeout_s: float = 30.0,
    ) -> list[dict[str, Any]]:
        """Wait until `count` entries match, and return them. Raises: TimeoutError."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                found = [entry for entry in self._entries if where(entry)]
                if len(found) >= count:
                    return found
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise TimeoutError(f"{len(found)} of {count} entries after {timeout_s} s: {found}")


@dataclass
class Fault:
    """What the next calls meet: `throttle`, `error`, `forbid`, `drop`, or a code of the platform's own.

    `drop` does the work and then breaks the connection without an answer. `method` limits it to one method.
    """

    how: str
    count: int = 1
    retry_after_s: int = 1
    method: str | None = None


class Faults:
    """The faults that are planned, first come first served."""

    def __init__(self) -> None:
        self._planned: list[Fault] = []
        self._lock = threading.Lock()

    def plan(self, fault: Fault) -> None:
        """Let the next calls fail."""
        with self._lock:
            self._planned.append(fault)

    def clear(self) -> None:
        """Let no call fail any more."""
        with self._lock:
            self._planned.clear()

    def take(self, method: str) -> Fault | None:
        """Return the fault that this call meets, and count it."""
        with self._lock:
            for fault in self._planned:
                if fault.method in (None, method):
                    fault.count -= 1
                    if fault.count <= 0:
                        self._planned.remove(fault)
                    return fault
        return None


class BrokenConnection(Response):
    """Announces an answer and breaks off before it comes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"1000"), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
