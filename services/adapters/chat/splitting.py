"""Cutting styled text into parts that each fit one message, with every mark closed and opened again."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.adapters.chat.markdown import Span, Style

NO_TEXT = "(no text)"
_JOINERS = "\u200d\ufe0e\ufe0f"
_LONGEST_CLUSTER = 32


@dataclass(frozen=True, slots=True)
class Dialect:
    """A platform's markup: how spans are written, how a part is measured, how large it may be.

    `write` must close every mark that it opens: that is why a part can be cut anywhere.
    """

    limit: int
    measure: Callable[[str], int]
    write: Callable[[Sequence[Span]], str]


def split(spans: Sequence[Span], dialect: Dialect) -> list[str]:
    """Write the spans as parts within the limit, cut where a reader would pause. At least one part."""
    parts: list[str] = []
    rest = list(spans)
    while rest:
        size = _fitting_chars(rest, dialect)
        head, tail = _cut(rest, size)
        if tail:
            size = _pause_before(head, tail[0], size)
            head, tail = _cut(rest, size)
        if _is_visible(head):
            parts.append(dialect.write(_without_edge_newlines(head)))
        rest = _without_leading_space(tail) if tail else []
    return parts or [dialect.write([Span(NO_TEXT)])]


def _fitting_chars(spans: Sequence[Span], dialect: Dialect) -> int:
    """Find how many characters from the start fit, by bisection; at least one."""

    def fits(size: int) -> bool:
        return dialect.measure(dialect.write(_cut(window, size)[0])) <= dialect.limit

    # A character takes at least one unit, so no more than `limit` of them can fit.
    window = _cut(spans, dialect.limit)[0]
    low, high = 1, sum(len(span.text) for span in window)
    if fits(high):
        return high
    while low < high - 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    # Closing a mark can make a longer text fit where a shorter one does not, so the answer is checked.
    while low > 1 and not fits(low):
        low -= 1
    return low


def _cut(spans: Sequence[Span], size: int) -> tuple[list[Span], list[Span]]:
    """Divide the spans after `size` characters."""
    for index, span in enumerate(spans):
        if size < len(span.text):
            head = [*spans[:index], Span(span.text[:size], span.marks)] if size else list(spans[:index])
            return head, [Span(span.text[size:], span.marks), *spans[index + 1 :]]
        size -= len(span.text)
    return list(spans), []


def _pause_before(head: Sequence[Span], following: Span, size: int) -> int:
    """Find the best stop in the second half: a paragraph, a line, a word, else between characters."""
    text = "".join(span.text for span in head)
    prose = "".join("\0" * len(s.text) if s.find_mark(Style.PRE) else s.text for s in head)
    for within, pause in ((prose, "\n\n"), (text, "\n"), (prose, " ")):
        found = within.rfind(pause, size // 2)
        if found > 0:
            return found + len(pause)
    for end in range(size, max(size - _LONGEST_CLUSTER, 0), -1):
        after = text[end] if end < size else following.text[0]
        if not _belong_together(text[end - 1], after):
            return end
    return size


def _belong_together(before: str, after: str) -> bool:
    is_skin_tone = "\U0001f3fb" <= after <= "\U0001f3ff"
    is_joined = before == "\u200d" or after in _JOINERS
    return bool(is_joined or is_skin_tone or unicodedata.combining(after))


def _without_leading_space(spans: Sequence[Span]) -> list[Span]:
    """Drop blank space at the start of a part, but for the indentation of code."""
    rest = list(spans)
    while rest:
        first = rest.pop(0)
        text = first.text.removeprefix("\n") if first.find_mark(Style.PRE) else first.text.lstrip()
        if text:
            return [Span(text, first.marks), *rest]
    return rest


def _without_edge_newlines(spans: Sequence[Span]) -> list[Span]:
    kept = list(spans)
    while kept:
        last = kept.pop()
        text = last.text.rstrip()
        if text:
            return [*kept, Span(text, last.marks)]
    return kept


def _is_visible(spans: Sequence[Span]) -> bool:
    """Say whether a reader would see anything; platforms refuse a message of format characters alone."""
    return any(not (c.isspace() or unicodedata.category(c) in ("Cf", "Cc")) for s in spans for c in s.text)
