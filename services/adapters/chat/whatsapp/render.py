"""Our Markdown as WhatsApp shows text, in parts of at most 4,096 characters. Pure.

Source: https://faq.whatsapp.com/539178204879377
"""

from __future__ import annotations

from collections.abc import Sequence

from services.adapters.chat.markdown import Span, Style, read_markdown
from services.adapters.chat.signs import SignStyle, write_signed
from services.adapters.chat.splitting import Dialect, split
from services.adapters.chat.whatsapp.manifest import MANIFEST


def render(text: str) -> list[str]:
    """Turn Markdown into parts of WhatsApp's text."""
    return split(read_markdown(text), _DIALECT)


def _write(spans: Sequence[Span]) -> str:
    return write_signed(spans, _STYLE)


# WhatsApp has neither escapes nor links: an address stands behind its words.
_STYLE = SignStyle(
    signs={Style.BOLD: "*", Style.ITALIC: "_", Style.STRIKE: "~"},
    escape=lambda text, begins_line: text,
    link=lambda href, label: f"{label} ({href})",
    code=lambda text: text,
)
_DIALECT = Dialect(limit=MANIFEST.max_text, measure=len, write=_write)
