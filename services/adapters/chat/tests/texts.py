"""Markdown to try a renderer with: random but well meant, and hostile."""

from __future__ import annotations

import random

_WORDS = [
    "alpha",
    "beta",
    "gamma",
    "&amp;",
    "<b>",
    "</b>",
    "&",
    "<",
    ">",
    "5*3*2",
    "snake_case_name",
    "`code`",
    "``a`b``",
    "**bold**",
    "*it*",
    "_it_",
    "~~gone~~",
    "***both***",
    "[link](https://example.com/a?b=1&c=2|3)",
    "<https://auto.example>",
    "https://bare.example",
    "![pic](https://example.com/p.png)",
    "😀",
    "👩\u200d👩\u200d👧\u200d👦",
    "🇩🇪",
    "👍🏽",
    "é",
    "漢字",
    "עברית",
    "**unclosed",
    "`open",
    "[half](http://",
    "\\*",
    "\\_",
    "@everyone",
    "<!channel>",
    "<@U1>",
    "<script>",
    "</pre>",
    "]]>",
    "|",
    "||",
    "***",
    "___",
    "~~~~",
    "<a",
    "href=x>",
    "&lt;",
    "&#0;",
    "\u200b",
]


def random_markdown(dice: random.Random) -> str:
    """Make a document of random blocks, some of them longer than a message."""
    return "\n\n".join(_block(dice, 0) for _ in range(dice.randint(1, 12)))


def _block(dice: random.Random, depth: int) -> str:
    kind = dice.choice(["prose", "prose", "list", "quote", "code", "table", "heading", "rule"])
    if kind == "list" and depth < 4:
        mark = dice.choice(["-", "1.", "*", "7)"])
        items = (_block(dice, depth + 1) for _ in range(dice.randint(1, 4)))
        return "\n".join(f"{mark} " + item.replace("\n", "\n   ") for item in items)
    if kind == "quote":
        return "> " + _sentence(dice, 60).replace("\n", "\n> ")
    if kind == "code":
        fence = dice.choice(["```", "~~~", "````"])
        return f"{fence}{dice.choice(['', 'python', 'c++ x', '<>'])}\n{_sentence(dice, 900)}\n{fence}"
    if kind == "table":
        row = "|" + "|".join(_sentence(dice, 3).replace("\n", " ") for _ in range(3)) + "|"
        return "\n".join(["|a|b|c|", "|-|-|-|", *[row] * dice.randint(1, 30)])
    if kind == "heading":
        return "#" * dice.randint(1, 6) + " " + _sentence(dice, 6).replace("\n", " ")
    return "---" if kind == "rule" else _sentence(dice, 900)


def _sentence(dice: random.Random, most: int) -> str:
    count = dice.randint(1, most)
    return "".join(dice.choice(_WORDS) + dice.choice([" ", " ", " ", "\n", ""]) for _ in range(count))


HOSTILE = [
    "**" * 5000,
    "```" + "x" * 9000,
    "```\n" + "`" * 9000,
    "`" + "<&>" * 4000,
    "<b><i><pre>" * 1500,
    "[" * 3000 + "x" + "](http://a.b)" * 3000,
    "[x](https://example.com/" + "&" * 6000 + ")",
    "[" + "long label " * 900 + "](https://example.com/" + "&" * 300 + ")",
    "> " * 400 + "deep",
    "- " * 400 + "deep",
    "\n".join("  " * depth + "- item" for depth in range(100)),
    "*" * 4000 + "a" + "*" * 4000,
    "**bold _and ~~all `of it " * 900,
    "👩‍👩‍👧‍👦" * 2000,
    "e" + "\u0301" * 9000,
    "\u200b" * 9000 + "x",
    "\x00\ud83d" * 3000,
    "&#x110000; &#0; &bogus; &amp;amp;" * 400,
    "a" * 9000,
    "\n" * 9000 + "a" + "\n" * 9000 + "b",
    "```a\n" + "\n" * 9000 + "b\n```",
    "x " * 60_000,
    "> ```\n> " + "code > more\n> " * 900,
    "|a|\n|-|\n" + "|" + "c" * 9000 + "|",
    "~~**_[`x`](https://a.b)_**~~" * 300,
    "\u202e" + "reversed <b>" * 600,
]
