"""Markdown that is still being written: closed where it is open, or held back, and cut where it is too long."""

from __future__ import annotations

import random

import pytest

from services.adapters.chat.healing import cut_source, heal, steady

FENCE = "```"


@pytest.mark.parametrize(
    ("text", "healed", "held"),
    [
        ("plain", "plain", "plain"),
        ("", "", ""),
        ("**bo", "**bo**", ""),
        ("**bold** and *it", "**bold** and *it*", "**bold** and "),
        ("**a *b", "**a *b***", ""),
        ("***bi", "***bi***", ""),
        ("x **", "x ", "x "),
        ("~~gone", "~~gone~~", ""),
        ("5 * 3 is", "5 * 3 is", "5 * 3 is"),
        ("snake_case and _em", "snake_case and _em_", "snake_case and "),
        ("a `co", "a `co`", "a "),
        ("a `code` b", "a `code` b", "a `code` b"),
        ("**`co", "**`co`**", ""),
        (r"\*not", r"\*not", r"\*not"),
        ("see [lab", "see lab", "see "),
        ("see [label](http://ex", "see label", "see "),
        (
            "see [label](http://ex.org) now",
            "see [label](http://ex.org) now",
            "see [label](http://ex.org) now",
        ),
        ("see [1] now", "see [1] now", "see [1] now"),
        ("- item **x", "- item **x**", "- item "),
        ("open **x\n\nnext", "open **x\n\nnext", "open **x\n\nnext"),
        (f"{FENCE}py\nx = 1", f"{FENCE}py\nx = 1\n{FENCE}", f"{FENCE}py\nx = 1"),
        (f"{FENCE}py\nx = 1\n``", f"{FENCE}py\nx = 1\n{FENCE}", f"{FENCE}py\nx = 1\n"),
        (f"{FENCE}py\n**x\n{FENCE}\nend", f"{FENCE}py\n**x\n{FENCE}\nend", f"{FENCE}py\n**x\n{FENCE}\nend"),
        ("text\n``", "text\n", "text\n"),
        (f"text\n{FENCE}p", "text\n", "text\n"),
        ("|a|b|", "", ""),
        ("text\n\n|a|b|\n|--", "text\n\n", "text\n\n"),
        ("|a|b|\n|--|--|\n|1|2", "|a|b|\n|--|--|\n|1|2", "|a|b|\n|--|--|\n|1|2"),
        ("**" + "x" * 500, "**" + "x" * 500, "**" + "x" * 500),
    ],
)
def test_an_unfinished_text_is_healed_or_held_back(text: str, healed: str, held: str) -> None:
    assert heal(text) == healed
    assert steady(text) == held
    assert text.startswith(held)


def test_what_is_held_back_never_takes_back_what_was_shown() -> None:
    words = ["**bold** ", "*it* ", "`code` ", "[a](http://b) ", "word ", "5 * 3 ", "snake_case "]
    blocks = ["\n\n", "\n- ", f"\n\n{FENCE}py\nx = **1\n{FENCE}\n", "\n\n|a|b|\n|-|-|\n|1|2|\n\n"]
    draw = random.Random(5)
    for _ in range(300):
        text = "".join(draw.choice(words + blocks) for _ in range(12))
        shown = ""
        for end in range(len(text) + 1):
            longer = steady(text[:end])
            assert longer.startswith(shown), (text[:end], shown, longer)
            shown = longer
        assert len(text) - len(shown) < 20


def test_a_long_text_is_cut_at_a_paragraph_and_nothing_is_lost() -> None:
    text = "aaaa " * 10 + "\n\n" + "bbbb " * 20
    head, prefix, cut = cut_source(text, 80)
    assert (head, prefix) == (("aaaa " * 10).rstrip(), "")
    assert text[cut:] == "bbbb " * 20
    assert cut_source("x" * 100, 60) == ("x" * 60, "", 60)


def test_code_that_is_cut_is_closed_and_opened_again() -> None:
    text = f"before\n\n{FENCE}py\n" + "line = 1\n" * 40 + f"{FENCE}\nafter"
    head, prefix, cut = cut_source(text, 200)
    assert head.endswith(f"line = 1\n{FENCE}")
    assert prefix == f"{FENCE}py\n"
    assert head.removesuffix(f"\n{FENCE}") + "\n" + text[cut:] == text
