"""The agent's Markdown as it is, in parts of at most 100,000 characters. Pure."""

from __future__ import annotations

from services.adapters.chat.markdown import Span
from services.adapters.chat.splitting import Dialect, split
from services.adapters.chat.webhook.manifest import MANIFEST
from services.adapters.chat.wire import storable


def render(text: str) -> list[str]:
    """Cut a text where a reader would pause; its markup goes out as it was written."""
    return split([Span(storable(text).replace("\ufffd", ""), ())] if text else [], _DIALECT)


_DIALECT = Dialect(
    limit=MANIFEST.max_text, measure=len, write=lambda spans: "".join(span.text for span in spans)
)
