"""Ids. The module `uuid` would load the modules that look for a network card's address."""

from __future__ import annotations

import os


def new_uuid() -> str:
    """Make a random UUID, version 4."""
    digits = bytearray(os.urandom(16))
    digits[6] = digits[6] & 0x0F | 0x40
    digits[8] = digits[8] & 0x3F | 0x80
    number = digits.hex()
    return "-".join((number[:8], number[8:12], number[12:16], number[16:20], number[20:]))
