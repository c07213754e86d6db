"""HTTP/1.1 to a server on loopback, as far as the CLI's server needs it: JSON both ways, and a stream of events."""

from __future__ import annotations

import asyncio
import binascii
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

MAX_LINE_BYTES = 64 * 1024 * 1024  # an event holds a tool's whole output
_CONNECT_S = 10.0


class LoopbackFailed(Exception):
    """There was no answer, or one that is not HTTP, or a status other than 2xx."""


@dataclass(frozen=True, slots=True)
class Loopback:
    """Where the server listens and what it asks for. Each request has a connection of its own."""

    port: int
    user: str
    password: str

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Make a request; return the answer's JSON, None for an empty one. Raises: LoopbackFailed."""
        try:
            async with self._request(method, path, body) as (status, pieces):
                content = b"".join([piece async for piece in pieces])
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as exc:
            raise LoopbackFailed(f"{method} {path}: {type(exc).__name__}") from exc
        if not 200 <= status < 300:
            raise LoopbackFailed(f"{method} {path}: {status} {content[:500].decode('utf-8', 'replace')}")
        return json.loads(content) if content.strip() else None

    async def events(self, path: str, opened: asyncio.Event) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the data of server-sent events until the stream ends. Raises: LoopbackFailed."""
        try:
            async with self._request("GET", path, None) as (status, pieces):
                if status != 200:
                    raise LoopbackFailed(f"GET {path}: {status}")
                opened.set()
                rest = b""
                async for piece in pieces:
                    *lines, rest = (rest + piece).split(b"\n")
                    for line in lines:
                        if line.startswith(b"data:") and isinstance(event := json.loads(line[5:]), dict):
                            yield event
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as exc:
            raise LoopbackFailed(f"GET {path}: {type(exc).__name__}") from exc

    @contextlib.asynccontextmanager
    async def _request(
        self, method: str, path: str, body: Any
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        content = b"" if body is None else json.dumps(body).encode()
        basic = binascii.b2a_base64(f"{self.user}:{self.password}".encode(), newline=False).decode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nConnection: close\r\n"
            f"Authorization: Basic {basic}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        async with asyncio.timeout(_CONNECT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=MAX_LINE_BYTES)
        try:
            writer.write(head.encode() + content)
            await writer.drain()
            status, headers = _parse_head(await reader.readuntil(b"\r\n\r\n"))
            yield status, _pieces(reader, headers)
        finally:
            writer.close()


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines if line)
    return int(first.split(" ", 2)[1]), {name.strip().lower(): value.strip() for name, _, value in fields}


async def _pieces(reader: asyncio.StreamReader, headers: dict[str, str]) -> AsyncIterator[bytes]:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            yield (await reader.readexactly(size + 2))[:-2]
    elif "content-length" in headers:
        yield await reader.readexactly(int(headers["content-length"]))
    else:
        while piece := await reader.read(64 * 1024):
            yield piece
