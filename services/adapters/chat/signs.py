"""Writing spans with signs around words (`*bold*`), for platforms whose markup works at the edges of words only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from services.adapters.chat.markdown import Mark, Span, Style

ZERO_WIDTH = "\u200b"
_FENCE = "```"


@dataclass(frozen=True, slots=True)
class SignStyle:
    """A platform's signs: those of bold, italic and strike-through, as far as it has them.

    `escape` writes plain text, told whether it begins a line; `link` writes a link of an address and an escaped
    label; `code` writes what is within a code block or between backticks. `edge` makes an edge where there is none.
    """

    signs: Mapping[Style, str]
    escape: Callable[[str, bool], str]
    link: Callable[[str, str], str]
    code: Callable[[str], str]
    edge: str = ZERO_WIDTH
    line_break: str = "\n"


def write_signed(spans: Sequence[Span], style: SignStyle) -> str:
    """Write spans. What is signed over two lines is signed on each: these markups do not reach over the end of one."""
    written = ""
    for block, group in groupby(spans, key=lambda span: span.find_mark(Style.PRE)):
        if block is not None:
            written += _fenced("".join(span.text for span in group), style)
        else:
            written = _Line(written, style).write(list(group))
    return written


def _fenced(code: str, style: SignStyle) -> str:
    return f"{_FENCE}\n{_unfenced(style.code(code))}\n{_FENCE}"


def _unfenced(text: str) -> str:
    """Break up what would begin or end a code block."""
    return text.replace(_FENCE, f"`{ZERO_WIDTH}`{ZERO_WIDTH}`")


class _Line:
    """Writes prose span by span."""

    def __init__(self, before: str, style: SignStyle) -> None:
        self._written = before
        self._style = style
        self._is_after_sign = False

    def write(self, spans: Sequence[Span]) -> str:
        for span in spans:
            is_quoted = span.find_mark(Style.QUOTE) is not None
            lines = span.text.split("\n")
            for number, line in enumerate(lines):
                if number:
                    self._add(self._style.line_break)
                # The last line of a span is the start of the next one's first.
                if is_quoted and self._is_at_start() and (line or number < len(lines) - 1):
                    self._add("> ")
                self._write_line(line, span.marks)
        return self._written

    def _write_line(self, line: str, marks: Sequence[Mark]) -> None:
        """Write styled text with the spaces around it outside of the signs."""
        core = line.strip()
        styled = self._styled(core, marks) if core else None
        if styled is None:
            self._add_plain(line)
            return
        text, is_signed = styled
        start = len(line) - len(line.lstrip())
        self._add_plain(line[:start])
        if is_signed and self._written and not _is_edge(self._written[-1]):
            self._written += self._style.edge
        self._add(text)
        self._is_after_sign = is_signed
        self._add(line[start + len(core) :])

    def _styled(self, core: str, marks: Sequence[Mark]) -> tuple[str, bool] | None:
        """Return text as a link or in its signs, and whether it has signs at its ends; None for plain text."""
        styles = {mark.style: mark.value for mark in marks}
        text, is_signed = self._style.escape(core, False), False
        if Style.LINK in styles:
            text = self._style.link(styles[Style.LINK], text)
        elif Style.CODE in styles:
            # There is no way to write a backtick within code.
            return None if "`" in core else (f"`{self._style.code(core)}`", True)
        for name, sign in self._style.signs.items():
            if name in styles and sign not in core:
                text, is_signed = f"{sign}{text}{sign}", True
        return (text, is_signed) if is_signed or Style.LINK in styles else None

    def _add(self, text: str) -> None:
        if not text:
            return
        if self._is_after_sign and not _is_edge(text[0]):
            self._written += self._style.edge
        self._written += text
        self._is_after_sign = False

    def _add_plain(self, text: str) -> None:
        text = _unfenced(self._style.escape(text, self._begins_line()))
        if text.startswith("`") and self._written.endswith("`"):
            self._written += self._style.edge
        self._add(text)

    def _is_at_start(self) -> bool:
        return not self._written or self._written.endswith("\n")

    def _begins_line(self) -> bool:
        return self._is_at_start() or self._written.endswith("\n> ") or self._written == "> "


def _is_edge(char: str) -> bool:
    return not (char.isalnum() or char in "*_~`")
