"""HTML mail as readable text: no markup, no scripts, links beside their words."""

from __future__ import annotations

import re
from html.parser import HTMLParser

MAX_HTML_CHARS = 500_000
_SILENT = frozenset({"script", "style", "head", "title", "template", "noscript", "svg", "object"})
_BLOCKS = frozenset(
    {
        "address", "article", "aside", "blockquote", "div", "dl", "dt", "dd", "fieldset", "figure", "footer", "form",
        "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "table",
        "tr", "ul",
    }
)  # fmt: skip
_SPACES = re.compile(r"[ \t\r\f\v\u00a0\u200b\u200c\u034f\u00ad]+")
_MANY_LINES = re.compile(r"\n{3,}")


def html_to_text(html: str) -> str:
    """Return what a reader sees of an HTML document, at most of its first half million characters."""
    reader = _Reader()
    reader.feed(html[:MAX_HTML_CHARS])
    reader.close()
    lines = (_SPACES.sub(" ", line).strip() for line in "".join(reader.pieces).split("\n"))
    return _MANY_LINES.sub("\n\n", "\n".join(lines)).strip()


class _Reader(HTMLParser):
    """Collects the text, a line for each block."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._silent = 0
        self._link: tuple[str, int] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin an element."""
        given = dict(attrs)
        if tag in _SILENT:
            self._silent += 1
        elif tag == "br":
            self.pieces.append("\n")
        elif tag in _BLOCKS:
            self.pieces.append("\n- " if tag == "li" else "\n")
        elif tag in ("td", "th"):
            self.pieces.append(" ")
        elif tag == "a":
            self._link = (given.get("href") or "", len(self.pieces))
        elif tag == "img" and given.get("alt") and not self._silent:
            self.pieces.append(f"[{given['alt']}]")

    def handle_endtag(self, tag: str) -> None:
        """End an element."""
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag in _BLOCKS:
            self.pieces.append("\n")
        elif tag == "a" and self._link is not None:
            address, start = self._link
            self._link = None
            shown = "".join(self.pieces[start:]).strip()
            if address.startswith(("http://", "https://", "mailto:")) and address not in (
                shown,
                f"mailto:{shown}",
            ):
                self.pieces.append(f" ({address[:500]})")

    def handle_data(self, data: str) -> None:
        """Take text between elements; line breaks in it are only spaces."""
        if not self._silent:
            self.pieces.append(data.replace("\n", " "))
