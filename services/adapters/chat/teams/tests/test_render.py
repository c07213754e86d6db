"""Markdown as Teams' markup."""

from __future__ import annotations

import pytest

from services.adapters.chat.teams.render import render
from services.adapters.chat.teams.text import readable, without_mention


@pytest.mark.parametrize(
    ("markdown", "markup"),
    [
        ("**a** *b* ~~c~~ `d`", "<b>a</b> <i>b</i> <s>c</s> <code>d</code>"),
        ("# Title\n\ntext", "<b>Title</b><br/><br/>text"),
        ('[a](https://e.com/?x=1&y="2")', '<a href="https://e.com/?x=1&amp;y=%222%22">a</a>'),
        ("<at>all</at> & 3 < 4", "&lt;at&gt;all&lt;/at&gt; &amp; 3 &lt; 4"),
        ("```python\nx < 1\n  y\n```", "<pre>x &lt; 1\n  y</pre>"),
        ("- a\n  - b", "• a<br/>\xa0\xa0• b"),
        ("> a\n> **b**", "<blockquote>a<br/><b>b</b></blockquote>"),
        ("a\x01b", "a\ufffdb"),
    ],
)
def test_markdown_becomes_markup(markdown: str, markup: str) -> None:
    assert render(markdown) == [markup]


def test_markup_that_people_write_is_read_as_text() -> None:
    text = '<p>one<br>two &lt;3</p><p><at id="0">Alice</at></p>'
    assert readable(text, is_markup=True) == "one\ntwo <3\n@Alice"
    assert readable("a &lt; b", is_markup=False) == "a &lt; b"


def test_a_mention_that_is_not_in_the_text_counts_all_the_same() -> None:
    assert without_mention("hello", ["<at>Slipway</at>"]) == ("hello", True)
    assert without_mention("hello", []) == ("hello", False)
