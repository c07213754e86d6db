"""Markdown as Discord shows it."""

from __future__ import annotations

import pytest

from services.adapters.chat.discord.render import render
from tests.fakes.discord_markdown import shown


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("**bold** and *it* and ~~gone~~", "**bold** and *it* and ~~gone~~"),
        ("***both***", "***both***"),
        ("`code` and ``a`b``", "`code` and ``a`b``"),
        ("[here](https://e.com/a_b)", "[here](https://e.com/a_b)"),
        ("https://e.com/a_b_c, https://", "<https://e.com/a_b_c>, https:\\//"),
        ("snake_case and 5 * 3", "snake\\_case and 5 \\* 3"),
        ("# Title", "**Title**"),
        ("> quoted\n> twice", "> quoted\n> twice"),
        ("- one\n- two", "• one\n• two"),
        ("\\# not a title", "\\# not a title"),
        ("\\- not a list", "\\- not a list"),
        ("<@123> || spoiler ||", "\\<@123\\> \\|\\| spoiler \\|\\|"),
        ("```python\nx = 1\n```", "```python\nx = 1\n```"),
    ],
)
def test_each_element_is_written_in_discords_markup(text: str, written: str) -> None:
    assert render(text) == [written]


def test_styles_side_by_side_do_not_run_together() -> None:
    (part,) = render("**a***b*~~c~~")
    assert shown(part).replace("\u200b", "") == "abc"


def test_a_fence_within_code_does_not_end_it() -> None:
    (part,) = render("````\na\n```\nb\n````")
    assert shown(part).replace("\u200b", "") == "a\n```\nb"
