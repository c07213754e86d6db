"""Reads a message as Discord shows it, and refuses what it would show otherwise than it was meant."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"https?://[^\s<]*[^\s<.,:;\"')\]]")
_BRACKETED = re.compile(r"<(https?://[^ <>]+)>")
_LINK = re.compile(r"\[((?:\\.|[^\[\]\\])*)\]\((https?://[^\s()<>]+|mailto:[^\s()<>]+|tel:[^\s()<>]+)\)")
_CODE = re.compile(r"(`+)((?:(?!\1(?!`)).)+?)(?<!`)\1(?!`)")
_FENCE = re.compile(r"```([A-Za-z0-9+#._-]*)\n(.*?)\n?```", re.DOTALL)
_SIGNS = ("**", "~~", "*")
_APART = "\u200b"


class Unsound(AssertionError):
    """The text has markup that is not closed, or characters that would be read as some."""


def shown(part: str) -> str:
    """Return the text that people see. Raises: Unsound."""
    pieces, end = [], 0
    for fence in _FENCE.finditer(part):
        pieces += [_prose(part[end : fence.start()]), fence[2]]
        end = fence.end()
    return "".join(pieces) + _prose(part[end:])


def _prose(text: str) -> str:
    if "```" in text:
        raise Unsound(f"a fence is not closed: {text!r}")
    return "\n".join(_line(line) for line in text.split("\n"))


def _line(line: str) -> str:
    line = line.removeprefix("> ")
    if re.match(r"\s*(?:#{1,3} |-# |- )", line):
        raise Unsound(f"a line begins as a heading or a list: {line!r}")
    opened: list[str] = []
    pieces: list[str] = []
    position = 0
    while position < len(line):
        rest = line[position:]
        piece, length = _piece(rest, opened)
        pieces.append(piece)
        position += length
    if opened:
        raise Unsound(f"{opened} is not closed: {line!r}")
    return "".join(pieces)


def _piece(rest: str, opened: list[str]) -> tuple[str, int]:
    if rest[0] == "\\" and len(rest) > 1 and not rest[1].isalnum() and not rest[1].isspace():
        return rest[1], 2
    if bracketed := _BRACKETED.match(rest):
        return bracketed[1], bracketed.end()
    if address := _ADDRESS.match(rest):
        return address.group(), address.end()
    if link := _LINK.match(rest):
        return _line(link[1]), link.end()
    if code := _CODE.match(rest):
        return code[2], code.end()
    # Of several signs in a row the last that was opened closes first.
    for sign in (*opened[-1:], *_SIGNS):
        if rest.startswith(sign):
            if sign in opened:
                if opened.pop() != sign:
                    raise Unsound(f"{sign} closes before what is within it: {rest!r}")
            else:
                if len(rest) == len(sign) or rest[len(sign)].isspace():
                    raise Unsound(f"{sign} opens nothing: {rest!r}")
                opened.append(sign)
            return "", len(sign)
    if rest[0] in "_`|<[]\\":
        raise Unsound(f"{rest[0]} stands alone: {rest!r}")
    return rest[0], 1
