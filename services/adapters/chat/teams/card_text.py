"""A rendered part as the text of an Adaptive Card, which has a Markdown of its own: bold, italic, links. Pure.

Source: https://learn.microsoft.com/adaptive-cards/authoring-cards/text-features
"""

from __future__ import annotations

from html.parser import HTMLParser

_SIGNS = {"b": "**", "i": "_"}


def card_text(part: str) -> str:
    """Turn a part of Teams' markup into a card's text."""
    reader = _Reader()
    reader.feed(part)
    reader.close()
    return "".join(reader.written).strip()


class _Reader(HTMLParser):
    """Collects the text, with the signs that a card knows; other tags leave nothing."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.written: list[str] = []
        self._addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            # A single end of line is a space there.
            self.written.append("\n\n")
        elif tag == "a":
            self._addresses.append(dict(attrs).get("href") or "")
            self.written.append("[")
        else:
            self.written.append(_SIGNS.get(tag, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._addresses:
            self.written.append(f"]({self._addresses.pop()})")
        else:
            self.written.append(_SIGNS.get(tag, ""))

    def handle_data(self, data: str) -> None:
        self.written.append(data)
