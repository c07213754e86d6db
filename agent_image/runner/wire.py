"""The bytes of a WebSocket client, without any waiting: what is sent, and how an answer to the handshake reads.

Source: RFC 6455. Only what we send is masked. Loads nothing that the runner does not need anyway, and no asyncio: a
connection can be begun before that is there.
"""

from __future__ import annotations

import binascii
import os
from enum import IntEnum

try:
    from _sha1 import sha1  # type: ignore[import-not-found]  # the built-in one: hashlib maps all of OpenSSL for the same twenty bytes
except ImportError:  # builds of Python that leave it out
    from hashlib import sha1

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Opcode(IntEnum):
    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class LinkClosed(Exception):
    """The connection is over: closed by the peer, cut, or broken by a protocol error."""


def accept_key(key: bytes) -> bytes:
    """Return the `Sec-WebSocket-Accept` that answers a key."""
    digest = sha1(key + _GUID).digest()  # noqa: S324 (the protocol's handshake, which protects nothing)
    return binascii.b2a_base64(digest, newline=False)


def mask_bytes(payload: bytes, mask: bytes) -> bytes:
    """XOR the payload with the repeated four-byte mask, as one big integer: a loop is 200 times slower."""
    size = len(payload)
    repeated = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


def encode_frame(opcode: Opcode, payload: bytes) -> bytes:
    """Build one final, masked frame."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65_536:
        head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    mask = os.urandom(4)
    return head + mask + mask_bytes(payload, mask)


def make_key() -> bytes:
    """Return a new `Sec-WebSocket-Key`."""
    return binascii.b2a_base64(os.urandom(16), newline=False)


def upgrade_request(target: str, key: bytes) -> bytes:
    """Return the request that asks for a WebSocket."""
    return (
        b"GET %s HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n" % (target.encode(), key)
    )


def check_upgrade(answer: bytes, key: bytes) -> None:
    """Look at the head of the answer, up to its empty line. Raises: LinkClosed when it is no WebSocket."""
    head = answer.decode("latin-1").split("\r\n")
    status = head[0].split(" ", 2)
    if len(status) < 2 or status[1] != "101":
        raise LinkClosed(f"the gateway answered {head[0][:80]!r}")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
    }
    if headers.get("upgrade", "").lower() != "websocket":
        raise LinkClosed("the answer is not a WebSocket upgrade")
    if headers.get("sec-websocket-accept", "").encode() != accept_key(key):
        raise LinkClosed("the answer has the wrong Sec-WebSocket-Accept")
