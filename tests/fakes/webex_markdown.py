"""Reading Webex's Markdown as its clients do, by another reading of CommonMark than the one that made it."""

from __future__ import annotations

from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

_CALLS = ("<@all", "<@personId:", "<@personEmail:")


def read_markdown(text: str) -> str:
    """Return the text that people see."""
    lines: list[str] = []
    for token in MarkdownIt("commonmark").parse(text):
        if token.type == "inline":
            lines.append(_shown(token.children or []))
        elif token.type in ("fence", "code_block", "html_block"):
            lines.append(token.content)
        elif token.type == "hr":
            lines.append("---")
    return "\n\n".join(lines)


def check_markdown(text: str) -> str:
    """Read as `read_markdown` does, and fail where there is HTML, a call of somebody, or a fence without its end."""
    assert not any(call in text for call in _CALLS), text
    for token in MarkdownIt("commonmark").parse(text):
        kinds = [token.type, *(child.type for child in token.children or [])]
        assert not {"html_block", "html_inline", "code_block", "hr"} & set(kinds), text
        assert not any(child.markup == "autolink" for child in token.children or []), text
    fences = [line for line in text.split("\n") if line.startswith("```")]
    assert len(fences) % 2 == 0, text
    return read_markdown(text)


def _shown(tokens: Sequence[Token]) -> str:
    return "".join("\n" if token.type in ("softbreak", "hardbreak") else token.content for token in tokens)
