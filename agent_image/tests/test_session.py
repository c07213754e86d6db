"""A session's entries: whatever is appended comes back the same."""

from __future__ import annotations

import json
from typing import Any

from agent_image.providers.transcript import FRAME_CHARS, pack, unpack
from agent_image.runner.text import MAX_FRAME_BYTES, encode


def entry(number: int, text: str = "") -> dict[str, Any]:
    return {"type": "user", "uuid": f"u{number}", "text": text}


def stored(path: str, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [wrapped for batch in pack(path, entries) for wrapped in batch]


def test_entries_come_back_in_order_by_transcript() -> None:
    main, sub = [entry(n) for n in range(5)], [entry(n) for n in range(3)]
    both = stored("", main) + stored("subagents/agent-1", sub)
    assert unpack(both) == {"": main, "subagents/agent-1": sub}


def test_a_repeated_entry_comes_back_once() -> None:
    assert unpack(stored("", [entry(1), entry(2)]) * 2) == {"": [entry(1), entry(2)]}


def test_entries_without_a_uuid_are_all_kept() -> None:
    assert unpack(stored("", [{"type": "title"}] * 2)) == {"": [{"type": "title"}] * 2}


def test_entries_of_any_length_fit_into_frames_and_come_back() -> None:
    entries = [entry(1), entry(2, "\x01ü\U0001f600" * FRAME_CHARS), entry(3, "x" * FRAME_CHARS), entry(4)]
    batches = list(pack("", entries))
    assert all(len(encode({"entries": batch})) < MAX_FRAME_BYTES for batch in batches)
    assert unpack(json.loads(json.dumps([w for batch in batches for w in batch]))) == {"": entries}


def test_many_small_entries_share_frames() -> None:
    assert len(list(pack("", [entry(n) for n in range(200)]))) == 1
