"""Our Markdown as GitHub's own. Pure."""

from __future__ import annotations

from services.adapters.chat.github.manifest import MANIFEST
from services.adapters.chat.typed_markdown import render_typed


def render(text: str) -> list[str]:
    """Turn Markdown into parts of GitHub's."""
    return render_typed(text, MANIFEST.max_text, reads_html=True)
