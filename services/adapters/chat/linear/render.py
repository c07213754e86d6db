"""Our Markdown as Linear's own. Pure."""

from __future__ import annotations

from services.adapters.chat.linear.manifest import MANIFEST
from services.adapters.chat.typed_markdown import render_typed


def render(text: str) -> list[str]:
    """Turn Markdown into parts of Linear's, which shows HTML as it was typed."""
    return render_typed(text, MANIFEST.max_text, reads_html=False)
