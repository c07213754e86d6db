"""Mail as text and as MIME: what a reader sees, and what cannot break out of a header."""

from __future__ import annotations

import time
from email import message_from_bytes, policy

import pytest

from services.kit.html_text import html_to_text
from services.kit.letters import Letter, find_references, is_address, reply_subject, write_letter


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p><p>Two</p>", "One\n\nTwo"),
        ("a<br>b &amp; c &lt;d&gt;", "a\nb & c <d>"),
        ("<script>x()</script><style>y</style>seen", "seen"),
        ('<a href="https://a.example/x">here</a>', "here (https://a.example/x)"),
        ('<a href="https://a.example">https://a.example</a>', "https://a.example"),
        ('<a href="javascript:alert(1)">click</a>', "click"),
        ("<table><tr><td>Tea</td><td>3</td></tr></table>", "Tea 3"),
        ('<img alt="Logo" src="x">', "[Logo]"),
        ("a\n   b\t c", "a b c"),
        ("</script>still", "still"),
        ("<b>unclosed <i>tags", "unclosed tags"),
        ("", ""),
    ],
)
def test_html_is_read_as_a_person_sees_it(html, text):
    assert html_to_text(html) == text


@pytest.mark.parametrize(
    "piece",
    [
        "<",
        "<a ",
        "<!--",
        "&",
        "<div>",
        "<a href='https://x'>",
        "<a>",
        "<![",
        "</",
        "<svg>",
        "<svg></svg>",
        '<a href="',
        "</a>x<a>",
    ],
)
def test_html_that_means_no_good_is_read_in_no_time(piece):
    begun = time.monotonic()
    html_to_text(piece * (600_000 // len(piece)))
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("text", ["ann@example.com", "Ann Lee <ann@example.com>", "<ann@example.com>"])
def test_addresses(text):
    assert is_address(text)


@pytest.mark.parametrize(
    "text",
    ["", "ann", "ann@", "a@b.c, d@e.f", "a@b.c\r\nBcc: d@e.f", "Ann <a@b.c", "a@b.c>", "a b@c.d", '"A, B" <a@b.c>',
     "Ann\n <a@b.c>", "a@b.c;d@e.f", "a@b@c"],
)  # fmt: skip
def test_what_is_no_single_address(text):
    assert not is_address(text)


def test_a_reply_refers_to_what_it_answers():
    letter = Letter(
        ("ann@example.com",),
        "Re: Grüße",
        "Ja – gern.\n",
        in_reply_to="<2@x>",
        references=("<1@x>", "<2@x>"),
    )
    read = message_from_bytes(write_letter(letter), policy=policy.default)
    assert (read["In-Reply-To"], read["References"], read["Subject"]) == ("<2@x>", "<1@x> <2@x>", "Re: Grüße")
    assert read.get_content().replace("\r\n", "\n") == "Ja – gern.\n"


def test_a_header_with_a_line_break_is_not_written():
    with pytest.raises(ValueError, match=r"(?i)linefeed|newline|line"):
        write_letter(Letter(("a@b.c",), "Hello\r\nBcc: x@y.z", "x"))


def test_references_and_subjects_of_replies():
    assert find_references("<a@x> junk <b@x>\r\n <c@x>") == ("<a@x>", "<b@x>", "<c@x>")
    assert len(find_references("<a@x> " * 50)) == 20
    assert [reply_subject(text) for text in ("Plan", "RE: Plan", "two\r\n lines")] == [
        "Re: Plan",
        "RE: Plan",
        "Re: two lines",
    ]
