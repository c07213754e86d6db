"""Many WebSocket clients in a process of their own, which count what they get and how old it is."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import Any

CLIENTS = 1_000
WITHIN_S = 40.0
_PADDING = "x" * 100
_STAMP = b"stamp:"
_STAMP_DIGITS = 19
_PING, _PONG = 0x89, 0x8A


def stamped_text() -> str:
    """Return a message's text, with the time at which it was made."""
    return f"{_STAMP.decode()}{time.time_ns():0{_STAMP_DIGITS}d} {_PADDING}"


class _Socket(asyncio.Protocol):
    """A WebSocket client that costs as little as can be: it reads frame headers and time stamps, nothing else."""

    def __init__(self, request: bytes, first_frame: bytes, latencies: list[float]) -> None:
        self._request = request
        self._first_frame = first_frame
        self._latencies = latencies
        self._buffer = bytearray()
        self.received = 0
        self.is_lost = False
        self.is_open = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        transport.write(self._request)

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.is_open.done():
            head, found, rest = bytes(self._buffer).partition(b"\r\n\r\n")
            if not found:
                return
            assert head.startswith(b"HTTP/1.1 101"), head
            self.is_open.set_result(None)
            self._buffer = bytearray(rest)
            self._transport.write(self._first_frame)
        self._read_frames(time.time_ns())

    def _read_frames(self, now_ns: int) -> None:
        buffer, at = self._buffer, 0
        while len(buffer) - at >= 4:
            length, start = buffer[at + 1], at + 2
            if length == 126:
                length, start = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
            if len(buffer) < start + length:
                break
            if buffer[at] == _PING:
                # Without a pong the server ends the connection after 40 s. The mask is zero.
                self._transport.write(
                    bytes((_PONG, 0x80 | length, 0, 0, 0, 0)) + buffer[start : start + length]
                )
            found = buffer.find(_STAMP, start, start + length)
            if found >= 0:
                self.received += 1
                stamp = found + len(_STAMP)
                self._latencies.append((now_ns - int(buffer[stamp : stamp + _STAMP_DIGITS])) / 1e6)
            at = start + length
        del buffer[:at]


async def _run_clients(port: int, headers: str, first_frame: bytes) -> None:
    """Connect, then for each line on standard input, a number, wait for so many messages and print what was seen."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    request = (
        f"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
    ).encode()
    clients: list[_Socket] = []
    for _ in range(CLIENTS):
        _, client = await loop.create_connection(
            lambda: _Socket(request, first_frame, latencies), "127.0.0.1", port
        )
        await client.is_open
        clients.append(client)
    print("connected", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        expected, deadline = int(line), time.monotonic() + WITHIN_S
        # An event for each message would be measured as well.
        while len(latencies) < expected and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        ended_ns, seen = time.time_ns(), latencies.copy()
        latencies.clear()
        report = {
            "ended_ns": ended_ns,
            "seen_ms": seen,
            "lost_connections": sum(client.is_lost for client in clients),
            "fewest_ever": min(client.received for client in clients),
            "most_ever": max(client.received for client in clients),
        }
        print(json.dumps(report), flush=True)
    for client in clients:
        client.close()


class Clients:
    """The process with all the clients, as seen from here."""

    def __init__(self, port: int, *, token: str = "", first_frame: dict[str, Any] | None = None) -> None:
        settings = {"port": port, "token": token, "first_frame": first_frame}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sockets", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read_line() == "connected\n"

    def expect(self, messages: int) -> None:
        """Begin to wait for so many messages at every client."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{messages * CLIENTS}\n")
        self._process.stdin.flush()

    def result(self, messages: int) -> tuple[list[float], int]:
        """Return the latencies and when it was over. Raises: AssertionError when anything is missing or too much."""
        result = json.loads(self._read_line())
        seen_ms = result.pop("seen_ms")
        assert len(seen_ms) == messages * CLIENTS, f"{len(seen_ms)} of {messages * CLIENTS}: {result}"
        return seen_ms, result["ended_ns"]

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        return str(self._process.stdout.readline())


def _masked_frame(message: dict[str, Any] | None) -> bytes:
    """Return a client's text frame; the mask is zero, so that the payload stays as it is."""
    if message is None:
        return b""
    payload = json.dumps(message).encode()
    return b"\x81" + bytes([0x80 | 126]) + len(payload).to_bytes(2, "big") + bytes(4) + payload


def main() -> None:
    """Be the process with the clients."""
    settings = json.loads(sys.argv[1])
    token = settings["token"]
    headers = f"Authorization: Bearer {token}\r\n" if token else ""
    asyncio.run(_run_clients(settings["port"], headers, _masked_frame(settings["first_frame"])))


if __name__ == "__main__":
    main()
