"""Our Markdown as the HTML of a mail; its plain form is made of the same part. Pure."""

from __future__ import annotations

from services.adapters.chat.email.manifest import MANIFEST
from services.adapters.chat.html_markup import write_html
from services.adapters.chat.markdown import read_markdown
from services.adapters.chat.splitting import Dialect, split


def render(text: str) -> list[str]:
    """Turn Markdown into parts, nearly always one."""
    return split(read_markdown(text), _DIALECT)


_DIALECT = Dialect(limit=MANIFEST.max_text, measure=len, write=write_html)
