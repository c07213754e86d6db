"""Identifiers that sort by the time they were made."""

from __future__ import annotations

import os
import time
import uuid
from datetime import datetime


def uuid7() -> uuid.UUID:
    """Make a version 7 UUID: 48 bits of Unix milliseconds, 12 of their fraction, then random bits.

    The fraction keeps what two processes make within one millisecond in order. Source: RFC 9562, 5.7 and 6.2, method 3.
    """
    milliseconds, rest_ns = divmod(time.time_ns(), 1_000_000)
    value = (milliseconds & (1 << 48) - 1) << 80
    value |= 0x7 << 76
    value |= (rest_ns * 4096 // 1_000_000) << 64
    value |= 0b10 << 62
    value |= int.from_bytes(os.urandom(8), "big") & (1 << 62) - 1
    return uuid.UUID(int=value)


def first_uuid7_at(moment: datetime) -> uuid.UUID:
    """Return the least version 7 UUID of a millisecond: all that were made before are smaller."""
    milliseconds = int(moment.timestamp() * 1_000)
    return uuid.UUID(int=(milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | 0b10 << 62)
