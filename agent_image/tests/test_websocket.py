"""The WebSocket client against a server that writes its frames byte by byte. Source of the rules: RFC 6455."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from agent_image.runner.websocket import WebSocket, connect
from agent_image.runner.wire import LinkClosed, Opcode, accept_key, encode_frame, mask_bytes

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def frame(opcode: int, payload: bytes, *, is_final: bool = True) -> bytes:
    """Build an unmasked frame, as a server sends it."""
    size = len(payload)
    head = bytes(((0x80 if is_final else 0) | opcode,))
    if size < 126:
        return head + bytes((size,)) + payload
    if size < 65_536:
        return head + bytes((126,)) + size.to_bytes(2, "big") + payload
    return head + bytes((127,)) + size.to_bytes(8, "big") + payload


async def read_client_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one frame of a client, which must be masked and final."""
    first, second = await reader.readexactly(2)
    assert first & 0xF0 == 0x80
    assert second & 0x80
    size = second & 0x7F
    if size >= 126:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
    mask = await reader.readexactly(4)
    return first & 0x0F, mask_bytes(await reader.readexactly(size), mask)


@contextlib.asynccontextmanager
async def serving(path: Path, script: Script, *, accept: bytes | None = None) -> AsyncIterator[str]:
    """Serve the handshake, then the script; `accept` gives a wrong answer to the client's key."""
    failures: list[BaseException] = []
    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"GET /runner HTTP/1.1\r\nHost: gateway\r\n")
            assert b"Sec-WebSocket-Extensions" not in head
            key = head.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
            answer = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nconnection: Upgrade\r\n"
            writer.write(answer + b"sec-websocket-accept: " + (accept or accept_key(key)) + b"\r\n\r\n")
            await script(reader, writer)
        except (EOFError, ConnectionError):
            pass
        except AssertionError as exc:
            failures.append(exc)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            served.set()

    server = await asyncio.start_unix_server(serve, str(path))
    try:
        yield str(path)
    finally:
        await asyncio.wait_for(served.wait(), 5)
        server.close()
    assert not failures, failures


def sending(*pieces: bytes) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            for start in range(0, len(piece), 7_000):
                writer.write(piece[start : start + 7_000])
                await writer.drain()
        await reader.read()

    return script


@contextlib.asynccontextmanager
async def linked(path: Path, script: Script) -> AsyncIterator[WebSocket]:
    async with serving(path, script) as address:
        socket = await connect(address, "/runner")
        try:
            yield socket
        finally:
            await socket.close()


def test_the_accept_key_is_that_of_the_specification() -> None:
    assert accept_key(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # section 1.3


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 300_000])
async def test_messages_of_every_length_go_both_ways(socket_folder: Path, size: int) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opcode, payload = await read_client_frame(reader)
        writer.write(frame(opcode, payload))
        await reader.read()

    async with linked(socket_folder / "s", echo) as socket:
        await socket.send_text(b"x" * size)
        assert await socket.receive() == "x" * size


async def test_a_fragmented_message_is_joined_with_control_frames_in_between(socket_folder: Path) -> None:
    text = "grüße".encode()
    pieces = [
        frame(Opcode.TEXT, text[:3], is_final=False),  # cut in the middle of a letter
        frame(Opcode.PING, b"there?"),
        frame(Opcode.CONTINUATION, b"", is_final=False),
        frame(Opcode.PONG, b""),
        frame(Opcode.CONTINUATION, text[3:]),
    ]
    heard: list[tuple[int, bytes]] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(pieces))
        heard.append(await read_client_frame(reader))
        await reader.read()

    async with linked(socket_folder / "s", script) as socket:
        assert await socket.receive() == "grüße"
    assert heard == [(Opcode.PONG, b"there?")]


async def test_a_close_is_answered_with_its_code(socket_folder: Path) -> None:
    heard: list[tuple[int, bytes]] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(Opcode.CLOSE, (1012).to_bytes(2, "big") + b"restart"))
        heard.append(await read_client_frame(reader))
        await reader.read()

    async with linked(socket_folder / "s", script) as socket:
        with pytest.raises(LinkClosed):
            await socket.receive()
    assert heard == [(Opcode.CLOSE, (1012).to_bytes(2, "big"))]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (encode_frame(Opcode.TEXT, b"masked"), 1002),
        (b"\xc1\x00", 1002),  # a reserved bit
        (frame(0x3, b""), 1002),  # an unknown opcode
        (frame(0xB, b""), 1002),
        (frame(Opcode.CONTINUATION, b"x"), 1002),
        (frame(Opcode.TEXT, b"a", is_final=False) + frame(Opcode.TEXT, b"b"), 1002),
        (frame(Opcode.PING, b"x" * 126), 1002),
        (frame(Opcode.PING, b"", is_final=False), 1002),
        (frame(Opcode.BINARY, b"x"), 1003),
        (frame(Opcode.TEXT, b"\xff\xfe"), 1007),
        (b"\x81\x7f" + (2**40).to_bytes(8, "big"), 1009),
    ],
)
async def test_a_frame_against_the_protocol_ends_the_link(
    socket_folder: Path, wrong: bytes, code: int
) -> None:
    heard: list[tuple[int, bytes]] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(wrong)
        heard.append(await read_client_frame(reader))
        await reader.read()

    async with linked(socket_folder / "s", script) as socket:
        with pytest.raises(LinkClosed):
            await socket.receive()
    assert heard == [(Opcode.CLOSE, code.to_bytes(2, "big"))]


async def test_a_connection_cut_in_a_frame_is_closed(socket_folder: Path) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(Opcode.TEXT, b"x" * 100)[:50])

    async with linked(socket_folder / "s", script) as socket:
        with pytest.raises(LinkClosed):
            await socket.receive()


async def test_an_answer_to_another_key_is_refused(socket_folder: Path) -> None:
    async with serving(socket_folder / "s", sending(), accept=b"bm90IHlvdXIga2V5") as address:
        with pytest.raises(LinkClosed):
            await connect(address, "/runner")


@contextlib.asynccontextmanager
async def listening(path: Path, script: Script) -> AsyncIterator[str]:
    """Serve one connection with a script that begins before any handshake."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script(reader, writer)
        writer.close()
        await writer.wait_closed()
        over.set()

    async with await asyncio.start_unix_server(serve, str(path)):
        yield str(path)
        await asyncio.wait_for(over.wait(), 5)


async def test_a_plain_http_answer_is_refused(socket_folder: Path) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")

    async with listening(socket_folder / "s", refuse) as address:
        with pytest.raises(LinkClosed, match="404"):
            await connect(address, "/runner")


async def test_no_socket_is_no_link(socket_folder: Path) -> None:
    with pytest.raises(LinkClosed):
        await connect(str(socket_folder / "nothing"), "/runner")


async def test_a_server_that_does_not_answer_is_given_up(socket_folder: Path) -> None:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(socket_folder / "s", listen) as address:
        with pytest.raises(LinkClosed):
            await connect(address, "/runner", timeout_s=0.05)
