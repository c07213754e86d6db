"""Reading an answer's bytes up to a limit."""

from __future__ import annotations

import httpx

from services.domain.errors import FileTooLarge


def read_at_most(answer: httpx.Response, max_bytes: int) -> bytes:
    """Return the body of a streamed answer. Raises: FileTooLarge before more than `max_bytes` are read."""
    announced = answer.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise FileTooLarge(f"The file is larger than {max_bytes} bytes.")
    data = bytearray()
    for chunk in answer.iter_bytes():
        data += chunk
        if len(data) > max_bytes:
            raise FileTooLarge(f"The file is larger than {max_bytes} bytes.")
    return bytes(data)
