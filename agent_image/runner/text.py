"""Cutting what is too long, visibly: beginning and end stay, and a line between them says what is gone."""

from __future__ import annotations

import json
from typing import Any

MAX_OUTPUT_CHARS = 200_000
MAX_FRAME_BYTES = (
    1_000_000  # a little under the protocol's 1 MiB, which leaves room for the frame around the data
)


def note_of_cut(count: int) -> str:
    return f"\n[… {count:,} characters left out …]\n"


def clip(text: str, limit: int) -> tuple[str, bool]:
    """Return the text cut to about `limit` characters, and whether anything was left out."""
    if len(text) <= limit:
        return text, False
    head, tail = limit // 2, limit - limit // 2
    return text[:head] + note_of_cut(len(text) - limit) + text[-tail:], True


def encode(frame: dict[str, Any]) -> bytes:
    """Encode a frame as JSON. A lone surrogate, which UTF-8 cannot hold, becomes a question mark."""
    return json.dumps(frame, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def encode_fitting(frame: dict[str, Any]) -> bytes:
    """Encode a frame, its strings cut as far as is needed to keep it under the limit of a frame."""
    limit = MAX_OUTPUT_CHARS * 2
    encoded = encode(frame)
    while len(encoded) > MAX_FRAME_BYTES and limit > 1:
        limit //= 2
        encoded = encode(_clip_strings(frame, limit))
    return encoded


def without_nul(value: Any) -> Any:
    """Replace NUL in every string: PostgreSQL's JSON cannot hold it, and commands print it."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd") if "\0" in value else value
    if isinstance(value, dict):
        return {without_nul(key): without_nul(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nul(item) for item in value]
    return value


def _clip_strings(value: Any, limit: int) -> Any:
    if isinstance(value, str):
        return clip(value, limit)[0]
    if isinstance(value, dict):
        return {key: _clip_strings(item, limit) for key, item in value.items()}
    if isinstance(value, list):
        return [_clip_strings(item, limit) for item in value]
    return value


class OutputTail:
    """Collects output of any length in bounded memory: its beginning and its end."""

    def __init__(self, limit: int = MAX_OUTPUT_CHARS) -> None:
        self._half = limit // 2
        self._head = ""
        self._tail: list[str] = []
        self._tail_chars = 0
        self._dropped = 0

    @property
    def is_cut(self) -> bool:
        return self._dropped > 0 or self._tail_chars > self._half

    def add(self, text: str) -> None:
        room = self._half - len(self._head)
        if room > 0:
            self._head += text[:room]
            text = text[room:]
        if text:
            self._tail.append(text)
            self._tail_chars += len(text)
        if self._tail_chars > 4 * self._half:
            self._shrink()

    def text(self) -> str:
        self._shrink()
        middle = note_of_cut(self._dropped) if self._dropped else ""
        return self._head + middle + "".join(self._tail)

    def _shrink(self) -> None:
        joined = "".join(self._tail)
        kept = joined[-self._half :]
        self._dropped += len(joined) - len(kept)
        self._tail, self._tail_chars = [kept], len(kept)
