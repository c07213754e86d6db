"""Reading `<message to="name">…</message>` blocks out of what an agent says. Pure.

A block begins and ends outside of code, and may hold what looks like another block: that is text of its own. One that
is never closed is no block, so that a text that was cut off goes to nobody by mistake.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_OPEN = r"""<message\s+to\s*=\s*(?:"(?P<double>[^"<>\n]{0,100})"|'(?P<single>[^'<>\n]{0,100})')\s*>"""
_TAG = re.compile(rf"{_OPEN}|(?P<close></message\s*>)")
_OPENING = "<message"
_LONGEST_OPENING = 200
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_TICKS = re.compile(r"`+")


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of an answer: for whoever asked, or, with `to`, for the destination of that name."""

    text: str
    to: str = ""


def read_blocks(text: str) -> list[Block]:
    """Return the pieces of an answer in their order; those without text are left out."""
    pieces: list[Block] = []
    position = 0
    for start, end, to, inner in _find_blocks(text):
        pieces += [Block(text[position:start]), Block(inner, to)]
        position = end
    pieces.append(Block(text[position:]))
    return [Block(piece.text.strip("\n"), piece.to) for piece in pieces if piece.text.strip()]


def has_blocks(text: str) -> bool:
    """Say whether any block is in an answer."""
    return next(iter(_find_blocks(text)), None) is not None


def hide_blocks(text: str, names: Sequence[str] = ()) -> str:
    """Return what of an unfinished answer its own chat may see: no block for others, nor the beginning of one.

    `names` are those of the chat itself. What was returned once stays the beginning of what is returned as the text
    grows, but where a fence or a run of backticks turns into another by growing.
    """
    blocks = _find_blocks(text)
    limit = _first_open(text, blocks)
    shown: list[str] = []
    position = 0
    for start, end, to, inner in blocks:
        if start >= limit:
            break
        shown += [text[position:start], inner if not to or to.lower() in names else ""]
        position = end
    return "".join(shown) + text[position:limit]


def _find_blocks(text: str) -> list[tuple[int, int, str, str]]:
    """Return (start, end, to, inner text) of each block."""
    code = _code_ranges(text)
    tags = [tag for tag in _TAG.finditer(text) if not _is_within(tag.start(), code)]
    found: list[tuple[int, int, str, str]] = []
    index = 0
    while index < len(tags):
        opening = tags[index]
        closing = None if opening["close"] else _closing_of(tags, index)
        if closing is None:
            index += 1
            continue
        name = (opening["double"] or opening["single"] or "").strip()
        ending = tags[closing]
        found.append((opening.start(), ending.end(), name, text[opening.end() : ending.start()]))
        index = closing + 1
    return found


def _closing_of(tags: Sequence[re.Match[str]], index: int) -> int | None:
    depth = 0
    for number in range(index, len(tags)):
        depth += -1 if tags[number]["close"] else 1
        if depth == 0:
            return number
    return None


def _first_open(text: str, blocks: Sequence[tuple[int, int, str, str]]) -> int:
    """Return where the first opening is that nothing has closed yet, or the beginning of what may become one."""
    code = _code_ranges(text)
    closed = [(start, end) for start, end, _, _ in blocks]
    for found in re.finditer(_OPENING, text):
        if _is_within(found.start(), code) or _is_within(found.start(), closed):
            continue
        rest = text[found.start() : found.start() + _LONGEST_OPENING]
        if re.match(_OPEN, rest) or (">" not in rest and len(rest) < _LONGEST_OPENING):
            return found.start()
    for size in range(len(_OPENING) - 1, 0, -1):
        if text.endswith(_OPENING[:size]):
            return len(text) - size
    return len(text)


def _code_ranges(text: str) -> list[tuple[int, int]]:
    """Return where code is: fenced blocks with their fences, and spans in backticks within a paragraph."""
    ranges: list[tuple[int, int]] = []
    fence, fence_start, prose_start, position = "", 0, 0, 0
    for line in text.splitlines(keepends=True):
        found = _FENCE.match(line.rstrip("\n"))
        if not fence and found and not (found[1][0] == "`" and "`" in found[2]):
            ranges += _span_ranges(text, prose_start, position)
            fence, fence_start = found[1], position
        elif fence and found and found[1].startswith(fence) and not found[2].strip():
            ranges.append((fence_start, position + len(line)))
            fence, prose_start = "", position + len(line)
        elif not fence and not line.strip():
            ranges += _span_ranges(text, prose_start, position)
            prose_start = position
        position += len(line)
    return (
        [*ranges, (fence_start, position)] if fence else [*ranges, *_span_ranges(text, prose_start, position)]
    )


def _span_ranges(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Return where spans of code are in one paragraph: from a run of backticks to the next of the same length."""
    runs = list(_TICKS.finditer(text, start, end))
    ranges: list[tuple[int, int]] = []
    index = 0
    while index < len(runs):
        same = (other for other in range(index + 1, len(runs)) if len(runs[other][0]) == len(runs[index][0]))
        closing = next(same, None)
        if closing is not None:
            ranges.append((runs[index].start(), runs[closing].end()))
            index = closing
        index += 1
    return ranges


def _is_within(position: int, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(start <= position < end for start, end in ranges)
