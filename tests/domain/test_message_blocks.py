"""Blocks in an answer: what goes where, and what only looks like a block."""

from __future__ import annotations

import random

import pytest

from services.domain.chats.blocks import Block, has_blocks, hide_blocks, read_blocks

FENCE = "```"


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("plain", [Block("plain")]),
        ("", []),
        ("  \n ", []),
        ('<message to="ops">red</message>', [Block("red", "ops")]),
        ("<message to='ops'>red</message>", [Block("red", "ops")]),
        ('<message  to = "ops" >red</message >', [Block("red", "ops")]),
        (
            'before\n<message to="ops">\nred\n</message>\nafter',
            [Block("before"), Block("red", "ops"), Block("after")],
        ),
        (
            '<message to="a">1</message><message to="b">2</message>',
            [Block("1", "a"), Block("2", "b")],
        ),
        ('<message to="a">1</message> <message to="a">2</message>', [Block("1", "a"), Block("2", "a")]),
        ('<message to="a">  </message>text', [Block("text")]),
        ('<message to="">nobody</message>', [Block("nobody")]),
        # Never closed, or never opened: text.
        ('say <message to="ops">red', [Block('say <message to="ops">red')]),
        ("red</message> it is", [Block("red</message> it is")]),
        ('<message to="a">1</message>\n<message to="b">2', [Block("1", "a"), Block('<message to="b">2')]),
        # Other tags, other attributes, other spellings.
        ("<message>red</message>", [Block("<message>red</message>")]),
        ('<message id="1">red</message>', [Block('<message id="1">red</message>')]),
        ('<message to="a" cc="b">red</message>', [Block('<message to="a" cc="b">red</message>')]),
        ("<message to=ops>red</message>", [Block("<message to=ops>red</message>")]),
        ('<Message to="ops">red</Message>', [Block('<Message to="ops">red</Message>')]),
        ('<messages to="ops">red</messages>', [Block('<messages to="ops">red</messages>')]),
        # A block in a block is text of the outer one.
        (
            '<message to="a">write <message to="b">x</message> so</message> end',
            [Block('write <message to="b">x</message> so', "a"), Block(" end")],
        ),
        # Code.
        ('use `<message to="a">x</message>` here', [Block('use `<message to="a">x</message>` here')]),
        ('`` ` <message to="a"> `` x</message>', [Block('`` ` <message to="a"> `` x</message>')]),
        ('a ` b <message to="a">x</message>', [Block("a ` b "), Block("x", "a")]),
        ('a ` b\n\n<message to="a">x`</message>', [Block("a ` b"), Block("x`", "a")]),
        (
            f'{FENCE}xml\n<message to="a">x</message>\n{FENCE}',
            [Block(f'{FENCE}xml\n<message to="a">x</message>\n{FENCE}')],
        ),
        (
            f'~~~\n{FENCE}\n<message to="a">x</message>\n~~~\n<message to="b">y</message>',
            [Block(f'~~~\n{FENCE}\n<message to="a">x</message>\n~~~'), Block("y", "b")],
        ),
        (
            f'<message to="a">\n{FENCE}\n</message>\n{FENCE}\nend</message>',
            [Block(f"{FENCE}\n</message>\n{FENCE}\nend", "a")],
        ),
        (f'{FENCE}\n<message to="a">x</message>', [Block(f'{FENCE}\n<message to="a">x</message>')]),
    ],
)
def test_an_answer_is_read_into_pieces(text, pieces):
    assert read_blocks(text) == pieces


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a < b", "a < b"),
        ("a <", "a "),
        ("a <mess", "a "),
        ("a <messy", "a <messy"),
        ("a <message to", "a "),
        ('a <message to="ops">secret', "a "),
        ('a <message to="ops">secret</mess', "a "),
        ('a <message to="ops">secret</message> b', "a  b"),
        ('a <message to="here">x</message> b', "a x b"),
        ('a <message to="here">x', "a "),
        ("a <message>x", "a <message>x"),
        ('a `<message to="x">` b', 'a `<message to="x">` b'),
    ],
)
def test_an_unfinished_answer_shows_nothing_that_is_for_others(text, shown):
    assert hide_blocks(text, ("here",)) == shown


def test_an_answer_has_blocks_only_where_they_are_closed():
    assert has_blocks('x <message to="a">y</message>')
    assert not has_blocks('x <message to="a">y')
    assert not has_blocks("x")


def test_what_is_shown_of_a_growing_answer_only_grows():
    pieces = ['<message to="ops">', "</message>", "\n\n", "secret ", "word ", "\n", "<", "<me", ">"]
    draw = random.Random(11)
    for _ in range(300):
        text = "".join(draw.choice(pieces) for _ in range(12))
        shown = ""
        for end in range(len(text) + 1):
            longer = hide_blocks(text[:end])
            assert longer.startswith(shown), (text, end)
            shown = longer
