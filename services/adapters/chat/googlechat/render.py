"""Our Markdown as Google Chat's text, in parts of at most 24,000 bytes. Pure.

Source: https://developers.google.com/workspace/chat/format-messages
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from services.adapters.chat.googlechat.manifest import MANIFEST
from services.adapters.chat.markdown import Span, Style, read_markdown
from services.adapters.chat.signs import ZERO_WIDTH, SignStyle, write_signed
from services.adapters.chat.splitting import Dialect, split

# What Google reads as a mention or a link; nothing that an agent writes may call everybody in a space. What follows
# the end of a text may be the rest of one.
_REFERENCE = re.compile(r"<(?=users/|https?:|mailto:|tel:|\Z)", re.IGNORECASE)


def render(text: str) -> list[str]:
    """Turn Markdown into parts of Google Chat's text."""
    return split(read_markdown(text), _DIALECT)


def measure(text: str) -> int:
    """Count as Google counts: bytes of UTF-8."""
    return len(text.encode())


def _write(spans: Sequence[Span]) -> str:
    return write_signed(spans, _STYLE)


def _broken(text: str) -> str:
    return _REFERENCE.sub(f"<{ZERO_WIDTH}", text)


def _link(href: str, label: str) -> str:
    address = href.replace("|", "%7C").replace("<", "%3C").replace(">", "%3E")
    shown = label.replace("|", "¦").replace("<", "‹").replace(">", "›")
    return f"<{address}|{shown}>"


_STYLE = SignStyle(
    signs={Style.BOLD: "*", Style.ITALIC: "_", Style.STRIKE: "~"},
    escape=lambda text, begins_line: _broken(text),
    link=_link,
    code=_broken,
)
_DIALECT = Dialect(limit=MANIFEST.max_text, measure=measure, write=_write)
