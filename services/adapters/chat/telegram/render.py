"""Our Markdown as Telegram's HTML, in parts of at most 4096 UTF-16 units. Pure.

Source: https://core.telegram.org/bots/api#html-style
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from services.adapters.chat.markdown import Mark, Span, Style, read_markdown
from services.adapters.chat.splitting import Dialect, split
from services.adapters.chat.tags import TagStyle, write_nested
from services.adapters.chat.telegram.manifest import MANIFEST

_TAGS = {
    Style.QUOTE: "blockquote",
    Style.LINK: "a",
    Style.BOLD: "b",
    Style.ITALIC: "i",
    Style.STRIKE: "s",
    Style.CODE: "code",
}
_OUR_TAG = re.compile(r'</?(?:blockquote|a|b|i|s|code|pre)(?: (?:href|class)="[^"<>]*")?>')


def render(text: str) -> list[str]:
    """Turn Markdown into parts of Telegram's HTML."""
    return split(read_markdown(text), _DIALECT)


def plain(part: str) -> str:
    """Turn a rendered part into the text that it shows; what is not our markup stays."""
    return html.unescape(_OUR_TAG.sub("", part))


def utf16_units(text: str) -> int:
    """Count as Telegram counts."""
    return len(text.encode("utf-16-le")) // 2


def _write(spans: Sequence[Span]) -> str:
    return write_nested(spans, _TAG_STYLE)


def _allowed(span: Span) -> tuple[Mark, ...]:
    """Drop the marks that Telegram does not nest: code stands alone or in a quote, and a link has none."""
    if (block := span.find_mark(Style.PRE)) is not None:
        return (block,)
    is_code = span.find_mark(Style.CODE) is not None
    if is_code and span.find_mark(Style.LINK) is None:
        return tuple(mark for mark in span.marks if mark.style in (Style.QUOTE, Style.CODE))
    return tuple(mark for mark in span.marks if mark.style is not Style.CODE)


def _opening(mark: Mark) -> str:
    if mark.style is Style.PRE:
        return f'<pre><code class="language-{mark.value}">' if mark.value else "<pre>"
    if mark.style is Style.LINK:
        return f'<a href="{html.escape(mark.value)}">'
    return f"<{_TAGS[mark.style]}>"


def _closing(mark: Mark) -> str:
    if mark.style is Style.PRE:
        return "</code></pre>" if mark.value else "</pre>"
    return f"</{_TAGS[mark.style]}>"


_TAG_STYLE = TagStyle(
    allowed=_allowed,
    opening=_opening,
    closing=_closing,
    text=lambda text, marks: html.escape(text, quote=False),
)
_DIALECT = Dialect(limit=MANIFEST.max_text, measure=utf16_units, write=_write)
