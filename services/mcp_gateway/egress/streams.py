"""Streams of bytes: plain ones, ones that count, and TLS over any of them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Protocol, TypeVar

CHUNK_BYTES = 64 * 1024

T = TypeVar("T")


class Stream(Protocol):
    """Two directions of bytes. `read` gives what has come, and nothing at the end."""

    async def read(self) -> bytes: ...

    async def write(self, data: bytes) -> None: ...

    def write_eof(self) -> None: ...

    def close(self) -> None: ...


class SocketStream:
    """An asyncio connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        return await self._reader.read(CHUNK_BYTES)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def write_eof(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.write_eof()

    def close(self) -> None:
        self._writer.close()


class StreamFrom:
    """A stream of which the beginning has been read already."""

    def __init__(self, head: bytes, rest: Stream) -> None:
        self._head = head
        self._rest = rest

    async def read(self) -> bytes:
        head, self._head = self._head, b""
        return head or await self._rest.read()

    async def write(self, data: bytes) -> None:
        await self._rest.write(data)

    def write_eof(self) -> None:
        self._rest.write_eof()

    def close(self) -> None:
        self._rest.close()


class CountedStream:
    """Reports each read and write before it is passed on; the report may refuse it."""

    def __init__(self, stream: Stream, count: Callable[[int, int], None]) -> None:
        self._stream = stream
        self._count = count

    async def read(self) -> bytes:
        data = await self._stream.read()
        self._count(0, len(data))
        return data

    async def write(self, data: bytes) -> None:
        self._count(len(data), 0)
        await self._stream.write(data)

    def write_eof(self) -> None:
        self._stream.write_eof()

    def close(self) -> None:
        self._stream.close()


class TlsStream:
    """TLS over a stream, with the bytes in our own hands: what was peeked at can be given to it."""

    def __init__(
        self, below: Stream, context: ssl.SSLContext, *, server_side: bool, server_name: str | None = None
    ) -> None:
        self._below = below
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_name
        )

    async def handshake(self) -> None:
        """Shake hands. Raises: ssl.SSLError, OSError."""
        await self._run(self._tls.do_handshake)

    async def read(self) -> bytes:
        try:
            return await self._run(lambda: self._tls.read(CHUNK_BYTES))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    async def write(self, data: bytes) -> None:
        self._tls.write(data)
        await self._flush()

    def write_eof(self) -> None:
        """Say nothing: half of a TLS connection is not closed alone."""

    def close(self) -> None:
        self._below.close()

    async def _run(self, step: Callable[[], T]) -> T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self._flush()
                if data := await self._below.read():
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            except ssl.SSLError:
                await self._flush()  # the alert that says why
                raise
            else:
                await self._flush()
                return result

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self._below.write(data)


async def join(one: Stream, other: Stream, idle_s: float) -> None:
    """Pass bytes both ways until both ends are done, one breaks, or nothing has moved for a while."""
    moved = _Activity(idle_s)
    async with asyncio.TaskGroup() as group:
        group.create_task(_pump(one, other, moved))
        group.create_task(_pump(other, one, moved))


class _Activity:
    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        self._at = asyncio.get_running_loop().time()

    async def read(self, source: Stream) -> bytes:
        """Read, for as long as something moves in either direction. Raises: TimeoutError."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout_at(self._at + self._idle_s):
                    data = await source.read()
            except TimeoutError:
                if loop.time() >= self._at + self._idle_s:
                    raise
            else:
                self._at = loop.time()
                return data


async def _pump(source: Stream, sink: Stream, moved: _Activity) -> None:
    while data := await moved.read(source):
        await sink.write(data)
    sink.write_eof()
