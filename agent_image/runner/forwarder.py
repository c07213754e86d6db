"""Gives tools that only know TCP a loopback port; a connection to it becomes one to the gateway's."""

from __future__ import annotations

import asyncio

DEFAULT_PORT = 8800
PATIENCE_S = 60.0
"""How long a gateway that is away is waited for: many times what a restart takes."""
_LOOK_S = 0.2
_CHUNK_BYTES = 64 * 1024


class _ClientReader(asyncio.StreamReader):
    """Knows that the client has left, also while what it sent is still unread."""

    has_left = False

    def feed_eof(self) -> None:
        self.has_left = True
        super().feed_eof()

    def set_exception(self, exc: Exception) -> None:
        self.has_left = True
        super().set_exception(exc)


class Forwarder:
    """Opened when a turn first needs it; stays open for the sandbox's life."""

    def __init__(self, socket_path: str, port: int = DEFAULT_PORT, *, patience_s: float = PATIENCE_S) -> None:
        self._socket_path = socket_path
        self._port = port
        self._patience_s = patience_s
        self._server: asyncio.Server | None = None
        self._opening = asyncio.Lock()
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self) -> str:
        """Return its address, listening from now on."""
        async with self._opening:
            if self._server is None:
                self._server = await asyncio.get_running_loop().create_server(
                    self._meet, "127.0.0.1", self._port
                )
        port: int = self._server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    def _meet(self) -> asyncio.StreamReaderProtocol:
        reader = _ClientReader()
        return asyncio.StreamReaderProtocol(reader, lambda _, writer: self._accept(reader, writer))

    async def _accept(self, reader: _ClientReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        if connection is not None:
            self._connections.add(connection)
            connection.add_done_callback(self._connections.discard)
        try:
            await self._join(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the gateway is away, or the runner ends: the tool sees its connection close
        finally:
            writer.close()

    async def _join(self, reader: _ClientReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await self._reach(reader)
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            far_writer.close()

    async def _reach(self, client: _ClientReader) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the gateway; one that restarts is waited for, as long as the client waits. Raises: OSError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_s
        while True:
            try:
                return await asyncio.open_unix_connection(self._socket_path)
            except OSError:
                if loop.time() >= deadline:
                    raise
            await asyncio.sleep(_LOOK_S)
            if client.has_left:
                # It has told its agent that the call failed: made later, it could be made twice.
                raise ConnectionAbortedError


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
