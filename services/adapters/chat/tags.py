"""Writing spans with tags that are opened and closed as their marks change, for platforms whose markup is like HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.adapters.chat.markdown import Mark, Span

Marks = tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class TagStyle:
    """A platform's tags: which marks of a span it shows, outermost first, and how marks and text are written."""

    allowed: Callable[[Span], Marks]
    opening: Callable[[Mark], str]
    closing: Callable[[Mark], str]
    text: Callable[[str, Marks], str]


def write_nested(spans: Sequence[Span], style: TagStyle) -> str:
    """Write spans; every tag that is opened is closed."""
    written: list[str] = []
    opened: Marks = ()
    for span in spans:
        marks = style.allowed(span)
        shared = 0
        while shared < min(len(opened), len(marks)) and opened[shared] == marks[shared]:
            shared += 1
        written += [style.closing(mark) for mark in reversed(opened[shared:])]
        written += [style.opening(mark) for mark in marks[shared:]]
        written.append(style.text(span.text, marks))
        opened = marks
    return "".join(written) + "".join(style.closing(mark) for mark in reversed(opened))
