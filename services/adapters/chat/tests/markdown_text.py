"""What a reader sees of a part, for platforms that read Markdown themselves."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markdown_it.token import Token


def read_text(part: str, *, reads_html: bool) -> str:
    """Return the text of a part; HTML in it is not seen, where the platform reads it."""
    options = {"html": reads_html, "maxNesting": 150}
    parser = MarkdownIt("commonmark", options).enable(["table", "strikethrough"])
    return "\n".join(_shown(token) for token in parser.parse(part)).strip()


def _shown(token: Token) -> str:
    if token.type == "inline":
        return "".join(_shown(child) for child in token.children or ())
    if token.type in ("softbreak", "hardbreak"):
        return "\n"
    if token.type == "hr":
        return "———"
    return "" if token.type.startswith("html_") else token.content
