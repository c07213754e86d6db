"""Markdown that is still being written, as it may be shown: closed where it is open, or held back until it is whole.

Pure. `heal` is for a message that is shown anew each time; `steady` for a stream that can only be added to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# An opener that nothing has closed for so long is text: what is held back must not look like an agent that hangs.
_PATIENCE_CHARS = 400
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^\n]*)")
_BEGUN_FENCE = re.compile(r" {0,3}(?:`{1,2}|~{1,2}|`{3,}[^`\n]*|~{3,}[^\n]*)")
_MARKERS = "*_~"


@dataclass(frozen=True, slots=True)
class _Opener:
    """Something that is open at the end of a paragraph: where, which marker, and how a link's label ends."""

    position: int
    marker: str
    label_end: int = 0


@dataclass(frozen=True, slots=True)
class _Block:
    """The last block of a text: where it begins, and the fence that it is in, if any."""

    start: int
    fence: str = ""


def steady(text: str) -> str:
    """Return the beginning of a text that means the same whatever follows: what is open at its end is held back."""
    block = _last_block(text)
    if block.fence:
        return text[: _start_of_sign(text)] if _may_close(_last_line(text), block.fence) else text
    shown = text[: _held_from(text, block)]
    openers = _find_openers(shown, block.start, is_growing=True)
    return shown[: openers[0].position] if openers else shown


def heal(text: str) -> str:
    """Return a text with what is open at its end closed: fences, emphasis, code, links. A table waits for its rule."""
    block = _last_block(text)
    if block.fence:
        shown = text[: _start_of_sign(text)] if _may_close(_last_line(text), block.fence) else text
        return f"{shown.rstrip()}\n{block.fence}"
    shown = text[: _held_from(text, block)]
    return _close(shown, _find_openers(shown, block.start))


def cut_source(text: str, most: int) -> tuple[str, str, int]:
    """Divide a text at the last pause before `most` characters: a paragraph outside of code, a line, else anywhere.

    Returns the first piece, with an open fence closed; what to put before the second, which opens it anew; and where
    the second begins.
    """
    head = text[:most]
    block = _last_block(head)
    cut = block.start if block.start > most // 2 and not block.fence else head.rfind("\n") + 1
    if cut <= most // 2:
        cut = len(head)
    fence, info = _open_fence(text[:cut])
    if not fence:
        return text[:cut].rstrip(), "", cut
    return f"{text[:cut].rstrip()}\n{fence}", f"{fence}{info}\n", cut


def _last_block(text: str) -> _Block:
    """Find the last paragraph, or the fence that is open at the end."""
    fence, start, position = "", 0, 0
    for line in text.splitlines(keepends=True):
        found = _FENCE.match(line)
        if fence:
            if found and found[1].startswith(fence) and not found[2].strip() and line.endswith("\n"):
                fence, start = "", position + len(line)
        elif found and line.endswith("\n") and not (found[1][0] == "`" and "`" in found[2]):
            fence, start = found[1], position
        elif not line.strip() and line.endswith("\n"):
            start = position + len(line)
        position += len(line)
    return _Block(start, fence)


def _open_fence(text: str) -> tuple[str, str]:
    """Return the fence that is open at the end with its language, or empty texts."""
    block = _last_block(text)
    if not block.fence:
        return "", ""
    found = _FENCE.match(text[block.start :])
    return block.fence, found[2].strip() if found else ""


def _may_close(line: str, fence: str) -> bool:
    return bool(line) and not line.strip(f" {fence[0]}")


def _held_from(text: str, block: _Block) -> int:
    """Return where the last lines begin that may turn into a fence or a table; the length when they may not."""
    if _BEGUN_FENCE.fullmatch(_last_line(text)):
        return _start_of_sign(text)
    lines = text[block.start :].split("\n")
    is_header = len(lines) == 1 or (len(lines) == 2 and _may_be_rule(lines[1]))
    if not is_header or not lines[0].lstrip().startswith("|"):
        return len(text)
    return block.start + len(lines[0]) - len(lines[0].lstrip())


def _may_be_rule(line: str) -> bool:
    return not line.strip("|:- \t")


def _find_openers(text: str, start: int, *, is_growing: bool = False) -> list[_Opener]:
    """Find what is open at the end of the paragraph that begins at `start`, the outermost first.

    In a text that `is_growing`, backticks at its end may become more, and close nothing.
    """
    openers: list[_Opener] = []
    position, end = start, len(text)
    while position < end:
        sign = text[position]
        if sign == "\\":
            position += 2
        elif sign == "`":
            position = _skip_code(text, position, openers, is_growing)
        elif sign == "[":
            openers.append(_Opener(position, "["))
            position += 1
        elif sign == "]":
            position = _close_label(text, position, openers)
        elif sign in _MARKERS:
            position = _read_markers(text, start, position, openers)
        else:
            position += 1
    return [opener for opener in openers if end - opener.position <= _PATIENCE_CHARS]


def _skip_code(text: str, position: int, openers: list[_Opener], is_growing: bool) -> int:
    size = _run(text, position)
    ticks = text[position : position + size]
    for found in re.finditer("`+", text[position + size :]):
        if found[0] == ticks and not (is_growing and position + size + found.end() == len(text)):
            return position + size + found.end()
    openers.append(_Opener(position, ticks))
    return len(text)


def _close_label(text: str, position: int, openers: list[_Opener]) -> int:
    """Read what follows a label: an address, which may be unfinished, or nothing, and then it was no link."""
    label = next((opener for opener in reversed(openers) if opener.marker == "["), None)
    if label is None:
        return position + 1
    after = text[position + 1 : position + 2]
    if after == "(":
        closing = text.find(")", position)
        if closing >= 0 and "\n" not in text[position:closing]:
            del openers[openers.index(label) :]
            return closing + 1
        if "\n" in text[position:]:
            openers.remove(label)
            return position + 1
    elif after:
        openers.remove(label)
        return position + 1
    openers[openers.index(label)] = _Opener(label.position, "[", position)
    return len(text)


def _read_markers(text: str, start: int, position: int, openers: list[_Opener]) -> int:
    """Read a run of emphasis markers: it closes an open one of its kind, opens one, or is text."""
    size = _run(text, position)
    sign, end = text[position], position + size
    before = text[position - 1] if position > start else " "
    after = text[end] if end < len(text) else ""
    left = size
    if not before.isspace():
        while left:
            same = next(
                (one for one in reversed(openers) if one.marker[0] == sign and len(one.marker) <= left), None
            )
            if same is None:
                break
            left -= len(same.marker)
            del openers[openers.index(same) :]
    is_within_word = sign == "_" and before.isalnum() and after != ""
    if (
        left
        and (not after or not after.isspace())
        and not is_within_word
        and not (sign == "~" and left == 1 and after)
    ):
        for marker in [sign * 2] * (left // 2) + [sign] * (left % 2):
            openers.append(_Opener(end - left, marker))
    return end


def _close(text: str, openers: list[_Opener]) -> str:
    """Close what is open, the innermost first; an opener with nothing behind it goes away."""
    shown = text
    closers = ""
    for opener in reversed(openers):
        if opener.marker == "[":
            label = shown[opener.position + 1 : opener.label_end or len(shown)]
            shown = shown[: opener.position] + label
        elif shown[opener.position :].strip(f"{opener.marker[0]} \n"):
            closers += opener.marker
        else:
            shown = shown[: opener.position]
    return shown.rstrip() + closers if closers else shown


def _run(text: str, position: int) -> int:
    end = position
    while end < len(text) and text[end] == text[position]:
        end += 1
    return end - position


def _start_of_sign(text: str) -> int:
    """Return where the last line begins, after its spaces."""
    line = _last_line(text)
    return len(text) - len(line.lstrip(" "))


def _last_line(text: str) -> str:
    return text[text.rfind("\n") + 1 :]
