"""A minimal WebSocket client over a Unix socket.

Source: RFC 6455. No extensions, no sub-protocols; binary messages on channels only.
"""

from __future__ import annotations

import asyncio
import socket

from agent_image.runner.wire import (
    LinkClosed,
    Opcode,
    check_upgrade,
    encode_frame,
    make_key,
    upgrade_request,
)

MAX_MESSAGE_BYTES = 64 * 1024 * 1024  # a turn carries its session, which may be long
_READ_LIMIT = 1024 * 1024


class WebSocket:
    """One open connection. One task may receive while another sends."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, takes_bytes: bool = False
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._takes_bytes = takes_bytes
        self._fragments: list[bytes] | None = None
        self._is_text = True

    async def send_text(self, payload: bytes) -> None:
        """Send one text message, and wait while the peer reads slower than we write. Raises: LinkClosed."""
        await self._send(Opcode.TEXT, payload)

    async def send_bytes(self, payload: bytes) -> None:
        """Send one binary message, and wait while the peer reads slower than we write. Raises: LinkClosed."""
        await self._send(Opcode.BINARY, payload)

    async def _send(self, opcode: Opcode, payload: bytes) -> None:
        try:
            self._writer.write(encode_frame(opcode, payload))
            await self._writer.drain()
        except (OSError, RuntimeError) as exc:
            raise LinkClosed(str(exc)) from exc

    async def receive(self) -> str:
        """Return the next whole text message; pings are answered on the way. Raises: LinkClosed."""
        message = await self.receive_any()
        if isinstance(message, bytes):
            raise self._fail(1003, "a binary message")
        return message

    async def receive_any(self) -> str | bytes:
        """Return the next whole message, as bytes when it is binary. Raises: LinkClosed."""
        try:
            while True:
                message = await self._read_frame()
                if message is not None:
                    return message.decode() if self._is_text else message
        except (OSError, EOFError) as exc:
            raise LinkClosed("the connection was cut") from exc
        except UnicodeDecodeError as exc:
            raise self._fail(1007, "text that is not UTF-8") from exc

    async def _read_frame(self) -> bytes | None:
        """Read one frame; return a message when it completes one."""
        first, second = await self._reader.readexactly(2)
        is_final, opcode, size = bool(first & 0x80), first & 0x0F, second & 0x7F
        if first & 0x70 or second & 0x80:
            raise self._fail(1002, "reserved bits or a masked frame")
        if opcode >= 8:
            if not is_final or size > 125:
                raise self._fail(1002, "a control frame that is long or fragmented")
            self._answer_control(opcode, await self._reader.readexactly(size))
            return None
        if size == 126:
            size = int.from_bytes(await self._reader.readexactly(2), "big")
        elif size == 127:
            size = int.from_bytes(await self._reader.readexactly(8), "big")
        return await self._read_payload(opcode, is_final, size)

    async def _read_payload(self, opcode: int, is_final: bool, size: int) -> bytes | None:
        held = sum(map(len, self._fragments or ()))
        if size + held > MAX_MESSAGE_BYTES:
            raise self._fail(1009, "a message that is too long")
        if opcode == Opcode.BINARY and not self._takes_bytes:
            raise self._fail(1003, "a binary message")
        if (opcode == Opcode.CONTINUATION) != (self._fragments is not None):
            raise self._fail(1002, "a frame out of order")
        if opcode not in (Opcode.CONTINUATION, Opcode.TEXT, Opcode.BINARY):
            raise self._fail(1002, "an unknown opcode")
        if opcode != Opcode.CONTINUATION:
            self._is_text = opcode == Opcode.TEXT
        fragments = [*(self._fragments or ()), await self._reader.readexactly(size)]
        self._fragments = None if is_final else fragments
        return b"".join(fragments) if is_final else None

    def _answer_control(self, opcode: int, payload: bytes) -> None:
        if opcode == Opcode.PING:
            self._writer.write(encode_frame(Opcode.PONG, payload))
        elif opcode == Opcode.CLOSE:
            self._write_close(int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1000)
            raise LinkClosed("closed by the gateway")
        elif opcode != Opcode.PONG:
            raise self._fail(1002, "an unknown opcode")

    def _fail(self, code: int, reason: str) -> LinkClosed:
        self._write_close(code)
        return LinkClosed(f"the gateway sent {reason}")

    def _write_close(self, code: int) -> None:
        if not self._writer.is_closing():
            self._writer.write(encode_frame(Opcode.CLOSE, code.to_bytes(2, "big")))

    async def close(self) -> None:
        """Send a close frame if that is still possible, and let go of the socket."""
        self._write_close(1000)
        self._writer.close()
        try:
            async with asyncio.timeout(1):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()


async def connect(
    socket_path: str, target: str, *, timeout_s: float = 10.0, takes_bytes: bool = False
) -> WebSocket:
    """Open a WebSocket to `target` over a Unix socket. Raises: LinkClosed."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(socket_path, limit=_READ_LIMIT)
            try:
                await _upgrade(reader, writer, target)
            except BaseException:
                writer.close()
                raise
    except (OSError, EOFError, asyncio.LimitOverrunError, TimeoutError) as exc:
        raise LinkClosed(f"no connection: {type(exc).__name__}") from exc
    return WebSocket(reader, writer, takes_bytes=takes_bytes)


async def adopt(connection: socket.socket) -> WebSocket:
    """Go on with a connection whose handshake is done. Raises: LinkClosed."""
    try:
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=_READ_LIMIT)
    except OSError as exc:
        connection.close()
        raise LinkClosed(f"no connection: {type(exc).__name__}") from exc
    return WebSocket(reader, writer)


async def _upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str) -> None:
    key = make_key()
    writer.write(upgrade_request(target, key))
    check_upgrade(await reader.readuntil(b"\r\n\r\n"), key)
