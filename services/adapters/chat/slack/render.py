"""Our Markdown as Slack's mrkdwn, in parts of at most 4,000 characters. Pure.

Source: https://docs.slack.dev/messaging/formatting-message-text
"""

from __future__ import annotations

from collections.abc import Sequence

from services.adapters.chat.markdown import Span, Style, read_markdown
from services.adapters.chat.signs import SignStyle, write_signed
from services.adapters.chat.slack.manifest import MANIFEST
from services.adapters.chat.splitting import Dialect, split


def render(text: str) -> list[str]:
    """Turn Markdown into parts of mrkdwn."""
    return split(read_markdown(text), _DIALECT)


def _write(spans: Sequence[Span]) -> str:
    return write_signed(spans, _STYLE)


def _link(href: str, label: str) -> str:
    address = href.replace("|", "%7C").replace("<", "%3C").replace(">", "%3E")
    return f"<{_escaped(address)}|{label.replace('|', '¦')}>"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_STYLE = SignStyle(
    signs={Style.BOLD: "*", Style.ITALIC: "_", Style.STRIKE: "~"},
    escape=lambda text, begins_line: _escaped(text),
    link=_link,
    code=_escaped,
)
_DIALECT = Dialect(limit=MANIFEST.max_text, measure=len, write=_write)
