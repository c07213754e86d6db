"""Markdown as Telegram's HTML."""

from __future__ import annotations

import pytest

from services.adapters.chat.telegram.render import render, utf16_units
from tests.fakes.telegram_html import read_html


@pytest.mark.parametrize(
    ("markdown", "markup"),
    [
        ("**a** *b* ~~c~~ `d`", "<b>a</b> <i>b</i> <s>c</s> <code>d</code>"),
        ("***both***", "<b><i>both</i></b>"),
        ("# Title\n\ntext", "<b>Title</b>\n\ntext"),
        ("[a & b](https://e.com/?x=1&y=2)", '<a href="https://e.com/?x=1&amp;y=2">a &amp; b</a>'),
        ("[click](javascript:alert(1))", "[click](javascript:alert(1))"),
        ("[here](/docs)", "here (/docs)"),
        ("<https://e.com>", "https://e.com"),
        ("1 < 2 & <script>", "1 &lt; 2 &amp; &lt;script&gt;"),
        ("```python\nx = '<'\n```", "<pre><code class=\"language-python\">x = '&lt;'</code></pre>"),
        ("```\nx\n```", "<pre>x</pre>"),
        ("- a\n- b\n  1. c", "• a\n• b\n  1. c"),
        ("3. a\n4. b", "3. a\n4. b"),
        ("> a\n> **b**\n\nc", "<blockquote>a\n<b>b</b></blockquote>\n\nc"),
        ("> > nested", "<blockquote>nested</blockquote>"),
        ("**bold `code`**", "<b>bold </b><code>code</code>"),
        ("[`x`](https://e.com)", '<a href="https://e.com">x</a>'),
        ("| a | b |\n|--|--|\n| 1 | 22 |", "<pre>a  b\n-  --\n1  22</pre>"),
        ("a\n\n---\n\nb", "a\n\n———\n\nb"),
        ("![pic](https://e.com/p.png)", '<a href="https://e.com/p.png">pic</a>'),
        ("**unclosed", "**unclosed"),
        ("a  \nb\nc", "a\nb\nc"),
    ],
)
def test_markdown_becomes_html(markdown: str, markup: str) -> None:
    assert render(markdown) == [markup]


def test_a_long_code_block_is_closed_and_opened_again() -> None:
    lines = [f"print({number})  # ünïcode 😀" for number in range(400)]
    parts = render("Before.\n\n```python\n" + "\n".join(lines) + "\n```\n\nAfter.")
    assert len(parts) > 2
    shown = [read_html(part) for part in parts]
    assert all([e["type"] for e in entities] == ["pre"] for _, entities in shown)
    assert all(entities[0]["language"] == "python" for _, entities in shown)
    assert [line for text, _ in shown for line in text.split("\n") if line.startswith("print")] == lines


def test_indentation_survives_where_code_is_cut() -> None:
    lines = [f"    indented {number}" for number in range(500)]
    shown = "\n".join(read_html(part)[0] for part in render("```\n" + "\n".join(lines) + "\n```"))
    assert shown.split("\n") == lines


def test_a_text_is_cut_between_paragraphs_where_it_can_be() -> None:
    paragraphs = ["x" * 900 for _ in range(9)]
    parts = render("\n\n".join(paragraphs))
    assert [part.split("\n\n") for part in parts] == [paragraphs[:4], paragraphs[4:8], paragraphs[8:]]


def test_emoji_count_twice() -> None:
    parts = render("😀" * 2049)
    assert [utf16_units(part) for part in parts] == [4096, 2]
