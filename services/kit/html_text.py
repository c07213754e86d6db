"""HTML mail as readable text: no markup, no scripts, links beside their words.

Read in one walk, because strangers write it: the standard library's parser takes minutes for a megabyte of opened tags.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

MAX_HTML_CHARS = 300_000
MAX_TAG_CHARS = 5_000
_SILENT = ("script", "style", "head", "title", "template", "noscript", "svg", "object")
_BLOCKS = frozenset(
    {
        "address", "article", "aside", "blockquote", "div", "dl", "dt", "dd", "fieldset", "figure", "footer", "form",
        "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "table",
        "tr", "ul",
    }
)  # fmt: skip
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_ATTRIBUTE = re.compile(r"""\b(href|alt)\s{0,5}=\s{0,5}("[^"]*"|'[^']*'|[^\s>"']+)""", re.IGNORECASE)
_SPACES = re.compile(r"[ \t\r\f\v\u00a0\u200b\u200c\u034f\u00ad]+")
_MANY_LINES = re.compile(r"\n{3,}")


def html_to_text(text: str) -> str:
    """Return what a reader sees of an HTML document, at most of its first 300,000 characters."""
    reader = _Reader(text[:MAX_HTML_CHARS])
    reader.read()
    lines = (_SPACES.sub(" ", line).strip() for line in "".join(reader.pieces).split("\n"))
    return _MANY_LINES.sub("\n\n", "\n".join(lines)).strip()


class _Reader:
    """Collects the text, a line for each block. Every search goes on from where the one before ended."""

    def __init__(self, text: str) -> None:
        self._html = text
        self.pieces: list[str] = []
        self._link: tuple[str, int] | None = None
        self._closed_at = 0
        self._unclosed: set[str] = set()

    def read(self) -> None:
        """Walk through the document."""
        at, end = 0, len(self._html)
        while at < end:
            begin = self._html.find("<", at)
            if begin < 0:
                begin = end
            self._say(self._html[at:begin])
            at = self._step(begin) if begin < end else end

    def _step(self, begin: int) -> int:
        """Read what begins with `<`; returns where to go on."""
        if self._html.startswith("<!--", begin):
            return self._after("-->", begin)
        if self._html.startswith(("<!", "<?"), begin):
            return self._after(">", begin)
        tag = _TAG.match(self._html, begin)
        end = self._next_close(begin)
        if tag is None or end < 0 or end - begin > MAX_TAG_CHARS:
            self._say("<")
            return begin + 1
        name = tag[2].lower()
        if tag[1]:
            self._end(name)
        elif name in _SILENT:
            return self._skip(name, end + 1)
        else:
            self._start(name, self._html[tag.end() : end])
        return end + 1

    def _next_close(self, begin: int) -> int:
        """Return where the next `>` is, looked for once however many `<` stand before it; -1 when there is none."""
        if 0 <= self._closed_at <= begin:
            self._closed_at = self._html.find(">", begin)
        return self._closed_at

    def _after(self, mark: str, begin: int) -> int:
        found = self._html.find(mark, begin)
        return len(self._html) if found < 0 else found + len(mark)

    def _skip(self, name: str, at: int) -> int:
        """Leave out an element with all that is in it; one that is never closed, its tag only."""
        if name in self._unclosed:
            return at
        found = re.compile(f"</{name}", re.IGNORECASE).search(self._html, at)
        if found is None:
            self._unclosed.add(name)
            return len(self._html) if name in ("script", "style") else at
        return self._after(">", found.start())

    def _start(self, name: str, attributes: str) -> None:
        if name == "br":
            self.pieces.append("\n")
        elif name in _BLOCKS:
            self.pieces.append("\n- " if name == "li" else "\n")
        elif name in ("td", "th"):
            self.pieces.append(" ")
        elif name == "a":
            self._link = (_attribute("href", attributes), len(self.pieces))
        elif name == "img" and (words := _attribute("alt", attributes)):
            self.pieces.append(f"[{words}]")

    def _end(self, name: str) -> None:
        if name in _BLOCKS:
            self.pieces.append("\n")
        elif name == "a" and self._link is not None:
            address, start = self._link
            self._link = None
            shown = "".join(self.pieces[start:]).strip()
            is_shown = address in (shown, f"mailto:{shown}")
            if address.startswith(("http://", "https://", "mailto:")) and not is_shown:
                self.pieces.append(f" ({address[:500]})")

    def _say(self, text: str) -> None:
        """Take text between elements; line breaks in it are only spaces."""
        if text:
            self.pieces.append(html.unescape(text).replace("\n", " "))


def _attribute(name: str, attributes: str) -> str:
    """Return an attribute's value, or an empty text."""
    for found in _ATTRIBUTE.finditer(attributes[:1_500]):
        if found[1].lower() == name:
            return html.unescape(found[2].strip("\"'")).strip()[:1_000]
    return ""


def readable_text(plain: Iterable[str], html: Iterable[str]) -> str:
    """Return what a mail says: its plain parts, or what its HTML parts show where none of those says anything."""
    said = [text.strip() for text in plain if text.strip()]
    return "\n\n".join(said or [text for text in map(html_to_text, html) if text])
