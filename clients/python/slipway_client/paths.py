"""Ids and names as parts of a path."""

from __future__ import annotations

from urllib.parse import quote


def path_part(text: str) -> str:
    """Return a text as one part of a path: nothing in it can lead elsewhere. Raises: ValueError for an empty one."""
    if text in ("", ".", ".."):
        raise ValueError("An id is missing.")
    return quote(text, safe="")
