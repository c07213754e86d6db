"""Our Markdown as Teams' markup, a well-formed subset of HTML, in parts of at most 20,000 UTF-16 units. Pure.

Source: https://learn.microsoft.com/microsoftteams/platform/bots/how-to/format-your-bot-messages
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from services.adapters.chat.markdown import Mark, Span, Style, read_markdown
from services.adapters.chat.splitting import Dialect, split
from services.adapters.chat.tags import Marks, TagStyle, write_nested
from services.adapters.chat.teams.manifest import MANIFEST

_TAGS = {
    Style.QUOTE: "blockquote",
    Style.PRE: "pre",
    Style.LINK: "a",
    Style.BOLD: "b",
    Style.ITALIC: "i",
    Style.STRIKE: "s",
    Style.CODE: "code",
}
# What XML cannot hold, escaped or not. Source: https://www.w3.org/TR/xml/#charsets
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_INDENT = re.compile(r"(?:(?<=\n)|^) {2,}")


def render(text: str) -> list[str]:
    """Turn Markdown into parts of markup."""
    return split(read_markdown(text), _DIALECT)


def utf16_units(text: str) -> int:
    """Count as Teams counts."""
    return len(text.encode("utf-16-le")) // 2


def _allowed(span: Span) -> Marks:
    block = span.find_mark(Style.PRE)
    return span.marks if block is None else (Mark(Style.PRE),)


def _opening(mark: Mark) -> str:
    if mark.style is Style.LINK:
        return f'<a href="{html.escape(_NOT_XML.sub("", mark.value))}">'
    return f"<{_TAGS[mark.style]}>"


def _closing(mark: Mark) -> str:
    return f"</{_TAGS[mark.style]}>"


def _text(text: str, marks: Marks) -> str:
    text = html.escape(_NOT_XML.sub("\ufffd", text), quote=False)
    if marks and marks[0].style is Style.PRE:
        return text
    return _INDENT.sub(lambda found: "\xa0" * len(found[0]), text).replace("\n", "<br/>")


def _write(spans: Sequence[Span]) -> str:
    return write_nested(spans, _STYLE)


_STYLE = TagStyle(allowed=_allowed, opening=_opening, closing=_closing, text=_text)
_DIALECT = Dialect(limit=MANIFEST.max_text, measure=utf16_units, write=_write)
