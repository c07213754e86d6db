"""Reads the first message of TLS, which is not encrypted yet: for which host it is.

Source: RFC 8446 section 4.1.2, RFC 6066 section 3, RFC 9849 (encrypted client hello).
"""

from __future__ import annotations

from dataclasses import dataclass

from services.mcp_gateway.egress.streams import Stream

MAX_HELLO_BYTES = 32 * 1024
_HANDSHAKE, _CLIENT_HELLO = 22, 1
_MAX_RECORD_BYTES = 16 * 1024
_SERVER_NAME, _ENCRYPTED_HELLO = 0, 0xFE0D
_HOST_NAME = 0


class NotTls(Exception):
    """The bytes are no TLS hello."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a hello says of its host. `is_encrypted`: it carries another, hidden one."""

    server_name: str | None
    is_encrypted: bool


async def read_hello(stream: Stream) -> tuple[Hello, bytes]:
    """Read a hello, and return all that was read with it. Raises: NotTls."""
    taken = b""
    while len(taken) < MAX_HELLO_BYTES:
        data = await stream.read()
        if not data:
            break
        taken += data
        hello = parse_hello(taken)
        if hello is not None:
            return hello, taken
    raise NotTls


def parse_hello(data: bytes) -> Hello | None:
    """Read a hello from the first bytes of a connection; None while it is not all there. Raises: NotTls."""
    message, position = b"", 0
    while position + 5 <= len(data):
        size = int.from_bytes(data[position + 3 : position + 5])
        if data[position] != _HANDSHAKE or data[position + 1] != 3 or not 0 < size <= _MAX_RECORD_BYTES:
            raise NotTls
        message += data[position + 5 : position + 5 + size]
        position += 5 + size
        if message and message[0] != _CLIENT_HELLO:
            raise NotTls
        if len(message) >= 4:
            length = int.from_bytes(message[1:4])
            if length > MAX_HELLO_BYTES:
                raise NotTls
            if len(message) >= 4 + length:
                return _parse_body(_Bytes(message[4 : 4 + length]))
    if data and data[0] != _HANDSHAKE:
        raise NotTls
    return None


class _Bytes:
    """Bytes that are taken from the front. Raises: NotTls when there are too few."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __bool__(self) -> bool:
        return bool(self._data)

    def take(self, size: int) -> bytes:
        if size > len(self._data):
            raise NotTls
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def take_all(self) -> bytes:
        return self.take(len(self._data))

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def block(self, size_bytes: int) -> _Bytes:
        """Take what follows its own length."""
        return _Bytes(self.take(self.number(size_bytes)))


def _parse_body(body: _Bytes) -> Hello:
    body.take(2 + 32)  # version, random
    body.block(1)  # session
    body.block(2)  # cipher suites
    body.block(1)  # compression
    extensions = body.block(2) if body else _Bytes(b"")
    found: dict[int, _Bytes] = {}
    while extensions:
        kind, content = extensions.number(2), extensions.block(2)
        if kind in found:
            raise NotTls
        found[kind] = content
    name = _parse_name(found[_SERVER_NAME]) if _SERVER_NAME in found else None
    return Hello(name, _ENCRYPTED_HELLO in found)


def _parse_name(content: _Bytes) -> str:
    names = content.block(2)
    if names.number(1) != _HOST_NAME:
        raise NotTls
    name = names.block(2).take_all()
    if names or content:
        raise NotTls
    try:
        return name.decode("ascii").lower()
    except UnicodeDecodeError as error:
        raise NotTls from error
