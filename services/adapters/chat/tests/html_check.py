"""Reading the HTML of `html_markup.py` more strictly than any reader of mail or chat does."""

from __future__ import annotations

import html
import re

_TAG = re.compile(
    r"<(/?)(blockquote|a|strong|em|del|code|pre|br)"
    r'((?: href="[^"<>]+")|(?: class="language-[^"<>]+"))?(/?)>'
)


def shown_text(part: str) -> str:
    """Return the text of a part whose tags are ours, closed in order, with all other signs escaped."""
    opened: list[str] = []
    for closing, tag, _, alone in _TAG.findall(part):
        if alone:
            assert tag == "br", part
        elif closing:
            assert opened.pop() == tag, part
        else:
            opened.append(tag)
    assert opened == [], part
    text = _TAG.sub(lambda found: "\n" if found[2] == "br" else "", part)
    assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", text), text
    return html.unescape(text)
