"""How a provider's session travels: in entries that fit into frames, stored by the gateway, brought back by a turn.

Shape of a stored entry: `{"path": "", "entry": {…}}`, where `path` names one of several transcripts, and is empty for
the main one. An entry that is too long for one frame is stored as text in pieces:
`{"path": "", "piece": "…", "is_last": false}`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

FRAME_CHARS = 150_000  # escaped and in UTF-8 at most six times as many bytes, still below a frame's limit


def pack(path: str, entries: Iterable[Mapping[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Wrap transcript entries into batches, each small enough for one frame."""
    batch: list[dict[str, Any]] = []
    size = 0
    for entry in entries:
        encoded = json.dumps(entry, ensure_ascii=False)
        for wrapped in _wrap(path, dict(entry), encoded):
            length = len(wrapped.get("piece") or encoded)
            if batch and size + length > FRAME_CHARS:
                yield batch
                batch, size = [], 0
            batch.append(wrapped)
            size += length
    if batch:
        yield batch


def _wrap(path: str, entry: dict[str, Any], encoded: str) -> Iterator[dict[str, Any]]:
    if len(encoded) <= FRAME_CHARS:
        yield {"path": path, "entry": entry}
        return
    for start in range(0, len(encoded), FRAME_CHARS):
        end = start + FRAME_CHARS
        yield {"path": path, "piece": encoded[start:end], "is_last": end >= len(encoded)}


def unpack(stored: Iterable[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the transcript entries by path. A repeat, known by its uuid, is left out."""
    transcripts: dict[str, list[dict[str, Any]]] = {}
    pieces: dict[str, list[str]] = {}
    seen: set[tuple[str, str]] = set()
    for wrapped in stored:
        path = wrapped.get("path", "")
        entry = wrapped.get("entry")
        if "piece" in wrapped:
            pieces.setdefault(path, []).append(wrapped["piece"])
            if not wrapped.get("is_last"):
                continue
            entry = json.loads("".join(pieces.pop(path)))
        if not isinstance(entry, dict):
            continue
        key = (path, entry.get("uuid") or "")
        if key[1] and key in seen:
            continue
        seen.add(key)
        transcripts.setdefault(path, []).append(entry)
    return transcripts
