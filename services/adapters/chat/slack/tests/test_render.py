"""Markdown as Slack's mrkdwn."""

from __future__ import annotations

import pytest

from services.adapters.chat.slack.render import render


@pytest.mark.parametrize(
    ("markdown", "markup"),
    [
        ("**a** *b* ~~c~~ `d`", "*a* _b_ ~c~ `d`"),
        ("# Title\n\ntext", "*Title*\n\ntext"),
        ("[a](https://e.com/?x=1&y=2)", "<https://e.com/?x=1&amp;y=2|a>"),
        ("**[a](https://e.com)**", "*<https://e.com|a>*"),
        ("<!channel> & <@U1>", "&lt;!channel&gt; &amp; &lt;@U1&gt;"),
        ("[x](<!channel>)", "x (!channel)"),
        ("```python\nx < 1\n```", "```\nx &lt; 1\n```"),
        ("````\n```\n````", "```\n`\u200b`\u200b`\n```"),
        ("- a\n- b\n  1. c", "• a\n• b\n  1. c"),
        ("> a\n> **b**\n>\n> c\n\nd", "> a\n> *b*\n> \n> c\n\nd"),
        ("un**believ**able", "un\u200b*believ*\u200bable"),
        ("**two\nlines**", "*two*\n*lines*"),
        ("`` a`b ``", "a`b"),
        ("**2*3**", "2*3"),
    ],
)
def test_markdown_becomes_mrkdwn(markdown: str, markup: str) -> None:
    assert render(markdown) == [markup]


def test_a_long_code_block_is_fenced_in_every_part() -> None:
    lines = [f"print({number}) <&>" for number in range(500)]
    parts = render("```\n" + "\n".join(lines) + "\n```")
    assert len(parts) > 1
    assert all(part.startswith("```\n") and part.endswith("\n```") for part in parts)
