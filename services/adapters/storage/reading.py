"""A stream that knows what went through it."""

from __future__ import annotations

import hashlib
from typing import BinaryIO


class MeasuredReader:
    """Reads a stream in order, and keeps size and hash of what was read. It cannot seek: nothing is read twice."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    @property
    def sha256(self) -> str:
        """Return the hash of what was read, in hexadecimal."""
        return self._hash.hexdigest()

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes, or all of them."""
        data = self._stream.read(size)
        self._hash.update(data)
        self.size_bytes += len(data)
        return data
