"""Our Markdown as the plain text that iMessage shows, in parts of at most 4,000 characters. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from services.adapters.chat.imessage.manifest import MANIFEST
from services.adapters.chat.markdown import Mark, Span, Style, read_markdown
from services.adapters.chat.splitting import Dialect, split


def render(text: str) -> list[str]:
    """Turn Markdown into parts of plain text."""
    return split(read_markdown(text), _DIALECT)


def _write(spans: Sequence[Span]) -> str:
    """Write the text, and the address of each link behind its label."""
    written, open_link = "", None
    for span in spans:
        link = span.find_mark(Style.LINK)
        if link != open_link:
            written += _address(open_link)
        written, open_link = written + span.text, link
    return written + _address(open_link)


def _address(link: Mark | None) -> str:
    return f" ({link.value})" if link is not None else ""


_DIALECT = Dialect(limit=MANIFEST.max_text, measure=len, write=_write)
