"""Identifiers that sort by the time they were made."""

from __future__ import annotations

import os
import time
import uuid
from datetime import datetime


def uuid7() -> uuid.UUID:
    """Make a version 7 UUID: 48 bits of Unix milliseconds, then random bits. Source: RFC 9562, 5.7."""
    milliseconds = time.time_ns() // 1_000_000
    random_bits = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (1 << 48) - 1) << 80
    value |= 0x7 << 76
    value |= (random_bits >> 68 & 0xFFF) << 64
    value |= 0b10 << 62
    value |= random_bits & (1 << 62) - 1
    return uuid.UUID(int=value)


def first_uuid7_at(moment: datetime) -> uuid.UUID:
    """Return the least version 7 UUID of a millisecond: all that were made before are smaller."""
    milliseconds = int(moment.timestamp() * 1_000)
    return uuid.UUID(int=(milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | 0b10 << 62)
