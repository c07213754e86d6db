"""Our styled spans as plain HTML, for platforms that take the common tags. Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from services.adapters.chat.markdown import Mark, Span, Style
from services.adapters.chat.tags import Marks, TagStyle, write_nested

_TAGS = {
    Style.QUOTE: "blockquote",
    Style.LINK: "a",
    Style.BOLD: "strong",
    Style.ITALIC: "em",
    Style.STRIKE: "del",
    Style.CODE: "code",
}
_OUR_TAG = re.compile(r'</?(?:blockquote|a|strong|em|del|code|pre)(?: (?:href|class)="[^"<>]*")?>')
_OUR_LINK = re.compile(r'<a href="([^"<>]*)">(.*?)</a>', re.DOTALL)


def write_html(spans: Sequence[Span]) -> str:
    """Write spans with tags opened and closed as the marks change."""
    return write_nested(spans, _TAG_STYLE)


def plain(part: str) -> str:
    """Turn written HTML into the text that it shows, addresses beside their labels; what is not ours stays."""
    linked = _OUR_LINK.sub(r"\2 (\1)", part.replace("<br/>", "\n"))
    return html.unescape(_OUR_TAG.sub("", linked))


def _allowed(span: Span) -> Marks:
    """Let a code block stand alone."""
    block = span.find_mark(Style.PRE)
    return (block,) if block is not None else span.marks


def _opening(mark: Mark) -> str:
    if mark.style is Style.PRE:
        return f'<pre><code class="language-{mark.value}">' if mark.value else "<pre><code>"
    if mark.style is Style.LINK:
        return f'<a href="{html.escape(mark.value)}">'
    return f"<{_TAGS[mark.style]}>"


def _closing(mark: Mark) -> str:
    return "</code></pre>" if mark.style is Style.PRE else f"</{_TAGS[mark.style]}>"


def _text(text: str, marks: Marks) -> str:
    escaped = html.escape(text, quote=False)
    is_block = any(mark.style is Style.PRE for mark in marks)
    return escaped if is_block else escaped.replace("\n", "<br/>")


_TAG_STYLE = TagStyle(allowed=_allowed, opening=_opening, closing=_closing, text=_text)
