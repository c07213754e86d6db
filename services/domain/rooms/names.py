"""Calling an agent in a room by its name."""

from __future__ import annotations

import re


def called_by_name(name: str) -> str:
    """Return the pattern of messages that write an agent's name after an @, as a word of its own."""
    return rf"(?i)(^|\W)@{re.escape(name)}(\W|$)"
