"""The clients of the gateway's benchmark, a process of their own: keep-alive callers of a tool, and idle runners."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import sys
import time
import uuid
from typing import Any, cast

import uvloop

CONNECTIONS = 16
REVISIONS = {"modern": "2026-07-28", "legacy": "2025-11-25"}
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_PING, _PONG = 0x89, 0x8A
_HELLO = {"op": "hello", "protocol": 1, "oldest": 1}


def _request(port: int, token: str, revision: str) -> bytes:
    """Return one call of the tool as it goes over the wire."""
    version = REVISIONS[revision]
    params: dict[str, Any] = {"name": "noop", "arguments": {"text": "nothing"}}
    extra = ""
    if revision == "modern":
        scope = "io.modelcontextprotocol"
        params["_meta"] = {
            f"{scope}/protocolVersion": version,
            f"{scope}/clientCapabilities": {},
            f"{scope}/clientInfo": {"name": "bench", "version": "1"},
        }
        extra = "Mcp-Method: tools/call\r\nMcp-Name: noop\r\n"
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    return (
        f"POST /mcp/bench HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
        f"MCP-Protocol-Version: {version}\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


class _Caller(asyncio.Protocol):
    """Calls over and over on one connection; one that is paced begins each call at its own moment."""

    def __init__(self, request: bytes, seen: _Seen, every_s: float, first_at: float) -> None:
        self._request, self._seen, self._every_s, self._next_at = request, seen, every_s, first_at
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's own transports, which are of no class of asyncio's.
        self._transport = cast(asyncio.WriteTransport, transport)
        self._call_next()

    def _call_next(self) -> None:
        moment = time.perf_counter()
        if moment >= self._seen.until:
            self._transport.close()
            return
        if self._every_s and moment < self._next_at:
            asyncio.get_running_loop().call_later(self._next_at - moment, self._call)
        else:
            self._call()

    def _call(self) -> None:
        # From when it was due: a late answer makes the next one late, and that counts.
        self._began = self._next_at if self._every_s else time.perf_counter()
        self._next_at += self._every_s
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n") if found else None
        if not found or (length is not None and len(body) < int(length[1])):
            return
        is_good = head.startswith(b"HTTP/1.1 200") and b'"nothing"' in body and b'"isError":true' not in body
        self._seen.note(time.perf_counter() - self._began, None if is_good else head[:200] + body[:300])
        self._buffer = b""
        self._call_next()

    def connection_lost(self, error: Exception | None) -> None:
        if time.perf_counter() < self._seen.until:
            self._seen.errors.append(f"connection lost: {error}")
        self._seen.end_one()


class _Seen:
    """What all connections saw together."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.latencies: list[float] = []
        self.errors: list[str] = []
        self._open = CONNECTIONS
        self.ended = asyncio.get_running_loop().create_future()

    def note(self, latency_s: float, problem: bytes | None) -> None:
        self.latencies.append(latency_s)
        if problem is not None:
            self.errors.append(problem.decode(errors="replace"))

    def end_one(self) -> None:
        self._open -= 1
        if not self._open:
            self.ended.set_result(None)


async def call_tools(
    port: int, tokens: list[str], revision: str, seconds: float, per_s: float
) -> dict[str, Any]:
    """Call for so long, as fast as it goes or so often a second in all."""
    loop, began = asyncio.get_running_loop(), time.perf_counter()
    seen = _Seen(began + seconds)
    every_s = CONNECTIONS / per_s if per_s else 0.0
    for n in range(CONNECTIONS):
        request = _request(port, tokens[n % len(tokens)], revision)
        first_at = began + every_s * n / CONNECTIONS
        await loop.create_connection(
            lambda request=request, first_at=first_at: _Caller(request, seen, every_s, first_at),  # type: ignore[misc]
            "127.0.0.1",
            port,
        )
    await seen.ended
    ordered = sorted(seen.latencies)
    return {
        "calls": len(ordered),
        "per_s": len(ordered) / (time.perf_counter() - began),
        "p50_ms": ordered[len(ordered) // 2] * 1_000,
        "p99_ms": ordered[int(len(ordered) * 0.99)] * 1_000,
        "errors": len(seen.errors),
        "first_errors": seen.errors[:3],
    }


class _Runner(asyncio.Protocol):
    """An idle runner: it says hello, reads its welcome, answers pings by being there."""

    def __init__(self) -> None:
        self._buffer = b""
        self.is_welcome = asyncio.get_running_loop().create_future()
        self.is_lost = False
        self.pings = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's own transports, which are of no class of asyncio's.
        self._transport = cast(asyncio.WriteTransport, transport)
        transport.write(
            b"GET /runner HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._buffer.startswith(b"HTTP/1.1 101") and b"\r\n\r\n" in self._buffer:
            self._buffer = self._buffer.partition(b"\r\n\r\n")[2]
            self._send({**_HELLO, "journal": str(uuid.uuid4())})
        if self._buffer[:1] == b"H":
            return
        while len(self._buffer) >= 2:
            length, start = self._buffer[1], 2
            if length == 126:
                length, start = int.from_bytes(self._buffer[2:4], "big"), 4
            if len(self._buffer) < start + length:
                return
            kind, payload = self._buffer[0], self._buffer[start : start + length]
            self._buffer = self._buffer[start + length :]
            self._take(kind, payload)

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == _PING:
            # Without a pong the server ends the connection after 40 s.
            self._transport.write(bytes((_PONG, 0x80 | len(payload))) + bytes(4) + payload)
        elif b'"welcome"' in payload and not self.is_welcome.done():
            self.is_welcome.set_result(None)
        elif b'"ping"' in payload:
            self.pings += 1
            self._send({"op": "pong"})

    def _send(self, frame: dict[str, Any]) -> None:
        # The mask is zero, so that the payload stays as it is.
        payload = json.dumps(frame).encode()
        size = (
            bytes((0x80 | len(payload),)) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
        )
        self._transport.write(b"\x81" + size + bytes(4) + payload)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        if not self.is_welcome.done():
            self.is_welcome.set_exception(error or ConnectionError("closed"))


async def stay_linked(folders: list[str], seconds: float) -> dict[str, Any]:
    """Link one runner for each socket, fifty at a time, then stay for so long."""
    loop, began = asyncio.get_running_loop(), time.perf_counter()
    runners: list[_Runner] = []
    for start in range(0, len(folders), 50):
        fresh = [
            (await loop.create_unix_connection(_Runner, path))[1] for path in folders[start : start + 50]
        ]
        await asyncio.wait_for(asyncio.gather(*(runner.is_welcome for runner in fresh)), 60)
        runners += fresh
    linked_s = time.perf_counter() - began
    print(json.dumps({"linked": len(runners), "linked_s": linked_s}), flush=True)
    await asyncio.sleep(seconds)
    return {
        "lost": sum(runner.is_lost for runner in runners),
        "fewest_pings": min((runner.pings for runner in runners), default=0),
    }


def main() -> None:
    """Be the clients that the settings on standard input ask for."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    settings = json.loads(sys.stdin.readline())
    if (core := settings.pop("core", None)) is not None:
        os.sched_setaffinity(0, {core})
    work = stay_linked if "folders" in settings else call_tools
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(work(**settings))), flush=True)


if __name__ == "__main__":
    main()
