"""Our Markdown as Discord's, in parts of at most 2,000 characters. Pure.

Source: https://support.discord.com/hc/en-us/articles/210298617
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from services.adapters.chat.discord.manifest import MANIFEST
from services.adapters.chat.markdown import Mark, Span, Style, read_markdown
from services.adapters.chat.splitting import Dialect, split

_SIGNS = {Style.STRIKE: "~~", Style.ITALIC: "*", Style.BOLD: "**"}
_SPECIAL = re.compile(r"[\\*_~`|<>\[\]]")
# What Discord reads at the start of a line: a heading, a list, small print.
_AT_START = re.compile(r"^(\s*)([#-])")
# An address is written in angle brackets, so that it ends where it ends, and nothing within it is markup.
_ADDRESS = re.compile(r"https?://[^\s<>`|\\\[\]]*[^\s<>`|\\\[\].,:;\"')*_~]")
_SCHEME = re.compile(r"(https?:)//")
# Keeps two signs apart that would be read as one.
_APART = "\u200b"


def render(text: str) -> list[str]:
    """Turn Markdown into parts of Discord's Markdown."""
    return split(read_markdown(text), _DIALECT)


def utf16_units(text: str) -> int:
    """Count as the strictest of Discord's clients does."""
    return len(text.encode("utf-16-le")) // 2


def _write(spans: Sequence[Span]) -> str:
    written = ""
    for block, group in groupby(spans, key=lambda span: span.find_mark(Style.PRE)):
        if block is not None:
            before = "\n" if written and not written.endswith("\n") else ""
            written += before + _fenced("".join(span.text for span in group), block.value)
        else:
            if written.endswith("```"):
                written += "\n"
            written = _Prose(written).write(list(group))
    return written


def _fenced(code: str, language: str) -> str:
    inner = code.replace("```", f"`{_APART}`{_APART}`")
    # A backtick at the edge would belong to the fence.
    return f"```{language}\n{inner}\n```"


class _Prose:
    """Writes prose span by span and line by line: a quote is marked on each line, and styles do not cross one."""

    def __init__(self, before: str) -> None:
        self._written = before

    def write(self, spans: Sequence[Span]) -> str:
        for span in spans:
            is_quoted = span.find_mark(Style.QUOTE) is not None
            lines = span.text.split("\n")
            for number, line in enumerate(lines):
                if number:
                    self._written += "\n"
                is_start = not self._written or self._written.endswith("\n")
                # The last line of a span is the start of the next one's first.
                if is_quoted and is_start and (line or number < len(lines) - 1):
                    self._written += "> "
                self._write_line(line, span.marks, is_start=is_start)
        return self._written

    def _write_line(self, line: str, marks: Sequence[Mark], *, is_start: bool) -> None:
        """Write styled text with the spaces around it outside of the signs."""
        core = line.strip()
        if not core:
            self._written += line
            return
        start = len(line) - len(line.lstrip())
        styled, is_signed = _styled(core, marks)
        if is_start and not is_signed:
            styled = _AT_START.sub(r"\1\\\2", styled)
        self._written += line[:start]
        if self._written and self._written[-1] in "*~`_" and styled[0] in "*~`_":
            self._written += _APART
        self._written += styled + line[start + len(core) :]


def _styled(core: str, marks: Sequence[Mark]) -> tuple[str, bool]:
    """Return text with its signs, and whether it has any."""
    styles = {mark.style: mark.value for mark in marks}
    if Style.LINK in styles:
        href = _href(styles[Style.LINK])
        # A label that looks like an address is not shown as a label.
        label = _ADDRESS.search(core)
        return (f"{_escaped(core)} (<{href}>)", False) if label else (f"[{_escaped(core)}]({href})", True)
    if Style.CODE in styles:
        return _code(core)
    text = _escaped(core)
    if any(set("*~") & set(found.group()) for found in _ADDRESS.finditer(core)):
        return text, False
    signs = [sign for style, sign in _SIGNS.items() if style in styles]
    for sign in signs:
        text = f"{sign}{text}{sign}"
    return text, bool(signs)


def _code(core: str) -> tuple[str, bool]:
    if "`" not in core:
        return f"`{core}`", True
    if "``" in core or "`" in (core[0], core[-1]):
        return _escaped(core), False
    return f"``{core}``", True


def _escaped(text: str) -> str:
    """Put a backslash before whatever Discord would read as markup."""
    written, end = [], 0
    for found in _ADDRESS.finditer(text):
        written += [_inert(text[end : found.start()]), f"<{found.group()}>"]
        end = found.end()
    return "".join(written) + _inert(text[end:])


def _inert(text: str) -> str:
    # What only begins as an address would take in whatever follows.
    return _SCHEME.sub(r"\1\\//", _SPECIAL.sub(r"\\\g<0>", text))


def _href(address: str) -> str:
    for char, escape in ((" ", "%20"), ("(", "%28"), (")", "%29"), ("<", "%3C"), (">", "%3E")):
        address = address.replace(char, escape)
    return address


_DIALECT = Dialect(limit=MANIFEST.max_text, measure=utf16_units, write=_write)
