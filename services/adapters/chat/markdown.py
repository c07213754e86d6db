"""Our Markdown as a row of styled spans, the form that every platform's `render` starts from."""

from __future__ import annotations

import enum
import html
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token

from services.adapters.chat.wire import storable


class Style(enum.IntEnum):
    """How a span looks. The values are the order of nesting, outermost first."""

    QUOTE = 1
    PRE = 2
    LINK = 3
    BOLD = 4
    ITALIC = 5
    STRIKE = 6
    CODE = 7


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A style with its value: the address of a link, the language of a code block."""

    style: Style
    value: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """Text with the marks that it bears, outermost first; no style twice."""

    text: str
    marks: tuple[Mark, ...] = ()

    def find_mark(self, style: Style) -> Mark | None:
        """Return the mark of this style, or None."""
        return next((mark for mark in self.marks if mark.style is style), None)


_MAX_NESTING = 40
# The parser is quadratic on some hostile inputs; 100,000 characters is 25 messages, more than anybody reads.
_MAX_PARSED_CHARS = 100_000
# An address must leave room for its label in one message part, escaped and all.
_MAX_HREF_CHARS = 2000
_LINKED = re.compile(r"(?:https?://|mailto:|tel:)", re.IGNORECASE)
_LANGUAGE = re.compile(r"[A-Za-z0-9+#._-]{1,40}")
_INLINE_STYLES = {"strong": Style.BOLD, "em": Style.ITALIC, "s": Style.STRIKE}


def read_markdown(text: str) -> tuple[Span, ...]:
    """Read Markdown (CommonMark, tables, strike-through); what is not markup stays as it was typed."""
    text = _lines(text)
    tokens = _parse(text)
    if tokens is None:
        return (Span(text),)
    reader = _Reader()
    reader.read(tokens)
    return tuple(reader.spans)


def is_readable(text: str) -> bool:
    """Say whether a text is short and plain enough to be read as Markdown, or else stays as it was typed."""
    return _parse(_lines(text)) is not None


def _lines(text: str) -> str:
    return storable(text).replace("\r\n", "\n").replace("\r", "\n")


def _parse(text: str) -> Sequence[Token] | None:
    if len(text) > _MAX_PARSED_CHARS:
        return None
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": _MAX_NESTING})
    tokens = parser.enable(["table", "strikethrough"]).parse(text)
    # The parser drops what is nested deeper than its limit; nothing that an agent said may vanish.
    return None if any(token.level >= _MAX_NESTING - 1 for token in tokens) else tokens


class _Reader:
    """Walks the parser's tokens once and collects spans."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._depths: Counter[Style] = Counter()  # how often each style is open
        self._quotes = 0
        self._lists: list[int | None] = []  # the next number, or None for bullets
        self._gap = 0
        self._is_gap_quoted = False
        self._prefix = ""
        self._hrefs: list[tuple[str, int]] = []

    def read(self, tokens: Sequence[Token]) -> None:
        """Read all block tokens."""
        position = 0
        while position < len(tokens):
            token = tokens[position]
            if token.type == "table_open":
                end = next(i for i in range(position, len(tokens)) if tokens[i].type == "table_close")
                self._write_block(_table_text(tokens[position:end]), "")
                position = end
            else:
                self._read_block(token)
            position += 1

    def _read_block(self, token: Token) -> None:
        match token.type:
            case "inline":
                self._read_inline(token.children or [])
            case "fence" | "code_block":
                language = _LANGUAGE.match(token.info.strip())
                self._write_block(token.content.rstrip("\n"), language.group() if language else "")
            case "hr":
                self._write("———")
                self._want_gap(2)
            case "heading_open":
                self._depths[Style.BOLD] += 1
            case "heading_close":
                self._depths[Style.BOLD] -= 1
                self._want_gap(2)
            case "paragraph_close":
                self._want_gap(1 if token.hidden else 2)
            case "blockquote_open" | "blockquote_close":
                self._read_quote(token.nesting)
            case _:
                self._read_list(token)

    def _read_quote(self, nesting: int) -> None:
        self._quotes += nesting
        if nesting < 0:
            self._want_gap(2)
        if self._quotes == (1 if nesting > 0 else 0):
            self._is_gap_quoted = False

    def _read_list(self, token: Token) -> None:
        match token.type:
            case "bullet_list_open":
                self._lists.append(None)
            case "ordered_list_open":
                self._lists.append(int(token.attrGet("start") or 1))
            case "bullet_list_close" | "ordered_list_close":
                self._lists.pop()
                self._want_gap(1 if self._lists else 2)
            case "list_item_open":
                self._want_gap(1)
                self._prefix = "  " * (len(self._lists) - 1) + self._next_bullet()
            case "list_item_close" if self._prefix:
                self._write("")

    def _next_bullet(self) -> str:
        number = self._lists[-1]
        if number is None:
            return "• "
        self._lists[-1] = number + 1
        return f"{number}. "

    def _read_inline(self, tokens: Sequence[Token]) -> None:
        for token in tokens:
            style = _INLINE_STYLES.get(token.tag)
            if style is not None:
                self._depths[style] += token.nesting
            elif token.type == "code_inline":
                self._write(token.content, Style.CODE)
            elif token.type in ("softbreak", "hardbreak"):
                self._write("\n" + "  " * len(self._lists))
            elif token.type == "link_open":
                self._open_link(token.attrGet("href"))
            elif token.type == "link_close":
                self._close_link()
            elif token.type == "image":
                self._open_link(token.attrGet("src"))
                self._write(token.content or "image")
                self._close_link()
            else:
                self._write(token.content)

    def _open_link(self, href: str | int | float | None) -> None:
        self._write("")
        self._hrefs.append((str(href or ""), len(self.spans)))

    def _close_link(self) -> None:
        """Mark the spans of the label, or write the address beside it when it cannot be a link."""
        href, start = self._hrefs.pop()
        label = "".join(span.text for span in self.spans[start:])
        if label == href:
            return
        if not _is_linkable(href) or not label.strip():
            self._write(f" ({href})" if label.strip() else href)
            return
        mark = Mark(Style.LINK, href)
        self.spans[start:] = [_marked(span, mark) for span in self.spans[start:]]

    def _write(self, text: str, *styles: Style) -> None:
        opened = (style for style, depth in self._depths.items() if depth)
        marks = {Mark(style) for style in (*opened, *styles)}
        before = self._start_text()
        quote = {Mark(Style.QUOTE)} if self._quotes else set[Mark]()
        if before:
            self.spans.append(Span(before, tuple(quote)))
        if text:
            self.spans.append(Span(text, tuple(sorted(marks | quote))))

    def _write_block(self, text: str, language: str) -> None:
        before = self._start_text().rstrip(" ")
        if before:
            self.spans.append(Span(before + "\n"))
        if text:
            self.spans.append(Span(text, (Mark(Style.PRE, language),)))
        self._want_gap(2)

    def _start_text(self) -> str:
        """Write the gap that is due, and return what stands before the text: a bullet, or an indent."""
        indent = "  " * len(self._lists) if self._gap and self.spans else ""
        if self._gap and self.spans:
            quote = (Mark(Style.QUOTE),) if self._is_gap_quoted else ()
            self.spans.append(Span("\n" * self._gap, quote))
        prefix, self._prefix, self._gap = self._prefix or indent, "", 0
        return prefix

    def _want_gap(self, lines: int) -> None:
        self._gap = max(self._gap, lines)
        self._is_gap_quoted = self._quotes > 0


def _marked(span: Span, mark: Mark) -> Span:
    if any(have.style in (mark.style, Style.PRE) for have in span.marks):
        return span
    return Span(span.text, tuple(sorted((*span.marks, mark))))


def _is_linkable(href: str) -> bool:
    escaped = html.escape(href.replace("|", "%7C"))
    return bool(_LINKED.match(href)) and len(escaped) <= _MAX_HREF_CHARS


def _table_text(tokens: Sequence[Token]) -> str:
    """Draw a table as aligned columns of plain text."""
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(" ".join(_plain(token.children or []).split()))
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=False)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def _plain(tokens: Sequence[Token]) -> str:
    words = []
    for token in tokens:
        words.append(" " if token.type in ("softbreak", "hardbreak") else token.content)
        if token.type == "link_open":
            words.append(f"{token.attrGet('href')} ")
    return "".join(words)
