"""Our Markdown as Matrix's HTML, in parts of which an edit still fits one event. Pure.

Source: https://spec.matrix.org/v1.11/client-server-api/#mroommessage-msgtypes
"""

from __future__ import annotations

import json

from services.adapters.chat.html_markup import write_html
from services.adapters.chat.markdown import read_markdown
from services.adapters.chat.matrix.manifest import MANIFEST
from services.adapters.chat.splitting import Dialect, split


def render(text: str) -> list[str]:
    """Turn Markdown into parts of HTML."""
    return split(read_markdown(text), _DIALECT)


def event_bytes(text: str) -> int:
    """Count the bytes that a text takes within an event."""
    return len(json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")) - 2


_DIALECT = Dialect(limit=MANIFEST.max_text, measure=event_bytes, write=write_html)
