"""Our Markdown as Slack's mrkdwn, in parts of at most 4,000 characters. Pure.

Source: https://docs.slack.dev/messaging/formatting-message-text
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from services.adapters.chat.markdown import Mark, Span, Style, read_markdown
from services.adapters.chat.slack.manifest import MANIFEST
from services.adapters.chat.splitting import Dialect, split

_SIGNS = {Style.BOLD: "*", Style.ITALIC: "_", Style.STRIKE: "~"}
# Slack reads a sign as markup only at the edge of a word; a space without width makes such an edge.
_EDGE = "\u200b"


def render(text: str) -> list[str]:
    """Turn Markdown into parts of mrkdwn."""
    return split(read_markdown(text), _DIALECT)


def _write(spans: Sequence[Span]) -> str:
    written = ""
    for block, group in groupby(spans, key=lambda span: span.find_mark(Style.PRE)):
        if block is not None:
            written += _fenced("".join(span.text for span in group))
        else:
            written = _Line(written).write(list(group))
    return written


def _fenced(code: str) -> str:
    return f"```\n{_escaped(code).replace('```', f'`{_EDGE}`{_EDGE}`')}\n```"


class _Line:
    """Writes prose span by span: Slack's markup does not reach over the end of a line."""

    def __init__(self, before: str) -> None:
        self._written = before
        self._is_after_sign = False

    def write(self, spans: Sequence[Span]) -> str:
        for span in spans:
            is_quoted = span.find_mark(Style.QUOTE) is not None
            lines = span.text.split("\n")
            for number, line in enumerate(lines):
                if number:
                    self._add("\n")
                is_start = not self._written or self._written.endswith("\n")
                # The last line of a span is the start of the next one's first.
                if is_quoted and is_start and (line or number < len(lines) - 1):
                    self._add("> ")
                self._write_line(line, span.marks)
        return self._written

    def _write_line(self, line: str, marks: Sequence[Mark]) -> None:
        """Write styled text with the spaces around it outside of the signs."""
        core = line.strip()
        styled = _styled(core, marks)
        if styled == _escaped(core) or not core:
            self._add(_escaped(line))
            return
        start = len(line) - len(line.lstrip())
        self._add(line[:start])
        is_signed = not styled.startswith("<")
        if is_signed and self._written and not _is_edge(self._written[-1]):
            self._written += _EDGE
        self._add(styled)
        self._is_after_sign = is_signed
        self._add(line[start + len(core) :])

    def _add(self, text: str) -> None:
        if not text:
            return
        if self._is_after_sign and not _is_edge(text[0]):
            self._written += _EDGE
        self._written += text
        self._is_after_sign = False


def _styled(core: str, marks: Sequence[Mark]) -> str:
    styles = {mark.style: mark.value for mark in marks}
    text = _escaped(core)
    if Style.LINK in styles:
        text = f"<{_address(styles[Style.LINK])}|{text.replace('|', '¦')}>"
    elif Style.CODE in styles:
        # Slack has no way to write a backtick within code.
        return f"`{text}`" if "`" not in core else text
    for style, sign in _SIGNS.items():
        if style in styles and sign not in core:
            text = f"{sign}{text}{sign}"
    return text


def _address(href: str) -> str:
    return _escaped(href.replace("|", "%7C").replace("<", "%3C").replace(">", "%3E"))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _is_edge(char: str) -> bool:
    return not (char.isalnum() or char in "*_~`")


_DIALECT = Dialect(limit=MANIFEST.max_text, measure=len, write=_write)
