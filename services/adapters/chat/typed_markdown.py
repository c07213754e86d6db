"""Our Markdown for platforms that read Markdown themselves: as it was typed where it fits, else in sound parts. Pure.

Source: https://github.github.com/gfm/
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from services.adapters.chat.markdown import Mark, Span, Style, is_readable, read_markdown
from services.adapters.chat.splitting import NO_TEXT, Dialect, split
from services.adapters.chat.wire import storable

_SIGNS = {Style.BOLD: "**", Style.ITALIC: "*", Style.STRIKE: "~~"}
_SPECIAL = re.compile(r"[\\`*_\[\]<>|~#&]")
_LINE_START = re.compile(r"^([+=-]|\d{1,9}[.)](?=\s))")
# What a platform would read as HTML and not show. Code, addresses and what folds text together stay as they are.
_TAGS = re.compile(
    r"^ {0,3}(?P<fence>`{3,}|~{3,})[^\n]*\n.*?(?:^ {0,3}(?P=fence)[`~]*[ \t]*$|\Z)"
    r"|(?<!`)(?P<ticks>`+)(?!`)(?:[^`]|(?!(?P=ticks)(?!`))`+)+?(?<!`)(?P=ticks)(?!`)"
    r"|<(?:https?://|mailto:)[^<>\s]*>"
    r"|</?(?:details|summary|br|sub|sup|kbd) ?/?>"
    r"|(?P<tag><)(?=[A-Za-z/!?])",
    re.MULTILINE | re.DOTALL,
)


def render_typed(text: str, limit: int, *, reads_html: bool) -> list[str]:
    """Return the text as one part if it fits, else written anew in parts of at most `limit` characters.

    Where the platform reads HTML, what looks like it is shown as it was typed.
    """
    parts = split(read_markdown(text), Dialect(limit=limit, measure=len, write=_write))
    typed = storable(text).replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    if reads_html:
        typed = _TAGS.sub(_shown, typed)
    is_sound = len(typed) <= limit and parts != [NO_TEXT] and is_readable(text)
    return [typed] if is_sound else parts


def _shown(found: re.Match[str]) -> str:
    return "&lt;" if found["tag"] else found[0]


def _write(spans: Sequence[Span]) -> str:
    written = ""
    for block, group in groupby(spans, key=lambda span: span.find_mark(Style.PRE)):
        if written and not written.endswith("\n"):
            written += "\n" if block is not None else ""
        if block is not None:
            written += _fenced("".join(span.text for span in group), block.value)
        else:
            written = _write_prose(written, list(group))
    return written


def _fenced(code: str, language: str) -> str:
    longest = max((len(run) for run in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{code}\n{fence}"


def _write_prose(written: str, spans: Sequence[Span]) -> str:
    """Write styled text line by line, as no sign reaches over an empty one."""
    for span in spans:
        is_quoted = span.find_mark(Style.QUOTE) is not None
        for number, line in enumerate(span.text.split("\n")):
            if number or (line and written.endswith("```")):
                written += "\n"
            is_start = not written or written.endswith("\n")
            if is_quoted and is_start and line:
                written += "> "
            written += _styled_line(line, span.marks, is_start=is_start)
    return written


def _styled_line(line: str, marks: Sequence[Mark], *, is_start: bool) -> str:
    core = line.strip()
    if not core:
        return line
    start = len(line) - len(line.lstrip())
    # Four plain spaces would make code of the line.
    before = "\u00a0" * start if is_start else line[:start]
    shown = _styled(core, {mark.style: mark.value for mark in marks})
    if is_start:
        shown = _LINE_START.sub(lambda found: f"{found[1][:-1]}\\{found[1][-1]}", shown)
    return f"{before}{shown}{line[start + len(core) :]}"


def _styled(core: str, styles: dict[Style, str]) -> str:
    text = _coded(core) if Style.CODE in styles else _escaped(core)
    for style, sign in _SIGNS.items():
        if style in styles:
            text = f"{sign}{text}{sign}"
    if Style.LINK in styles:
        address = styles[Style.LINK].replace("<", "%3C").replace(">", "%3E").replace("\\", "%5C")
        text = f"[{text}](<{address}>)"
    return text


def _coded(core: str) -> str:
    longest = max((len(run) for run in re.findall("`+", core)), default=0)
    ticks = "`" * (longest + 1)
    pad = " " if core.startswith("`") or core.endswith("`") else ""
    return f"{ticks}{pad}{core}{pad}{ticks}"


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda found: f"\\{found[0]}", text)
