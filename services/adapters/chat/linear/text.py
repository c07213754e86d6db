"""What people write at Linear, as an agent reads it: without the agent's name. Pure."""

from __future__ import annotations

import re

_BLANKS = re.compile(r"(?<=\S) {2,}(?=\S)")


def without_mention(text: str, name: str) -> tuple[str, bool]:
    """Take the agent's name out of a text, and say whether it was there."""
    if not name:
        return text.strip(), False
    pattern = re.compile(rf"(?<![\w@])@{re.escape(name)}(?![\w-])[,:]?", re.IGNORECASE)
    rest, count = pattern.subn("", text)
    if not count:
        return text.strip(), False
    return _BLANKS.sub(" ", rest).strip() or f"@{name}", True
